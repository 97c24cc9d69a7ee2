/* A pool of threads for calls that block.
 *
 * `free_threads` counts the threads that will look at the queue: those that wait and those just made. A
 * submit makes a thread whenever they are not more than what is queued, so no work ever waits behind another.
 */
#include "base/worker.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"

#define KEEP_IDLE_DEFAULT 8

struct thread {
    pthread_t id;
    struct worker_pool *pool;
    struct thread *next; /* in `ended` */
};

struct worker_pool {
    struct mailbox *mailbox;
    unsigned keep_idle;
    size_t pending; /* loop thread only */

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t work_came, thread_ended;
    struct work *first, **last;
    size_t queued, free_threads, threads;
    struct thread *ended; /* left their loop, to be joined */
    bool stopping;
};

static struct work *take_work(struct worker_pool *pool)
{
    struct work *work = pool->first;
    pool->first = work->next;
    if (!pool->first)
        pool->last = &pool->first;
    pool->queued--;
    pool->free_threads--;
    return work;
}

static void *thread_main(void *arg)
{
    struct thread *self = arg;
    struct worker_pool *pool = self->pool;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (!pool->first && !pool->stopping)
            pthread_cond_wait(&pool->work_came, &pool->lock);
        if (!pool->first)
            break;
        struct work *work = take_work(pool);
        pthread_mutex_unlock(&pool->lock);
        work->run(work);
        bool posted = mailbox_post(pool->mailbox, &work->mail);
        assert(posted); /* the mailbox outlives the pool's pending work */
        (void)posted;
        pthread_mutex_lock(&pool->lock);
        pool->free_threads++;
        if (!pool->first && pool->free_threads > pool->keep_idle)
            break;
    }
    pool->free_threads--;
    pool->threads--;
    self->next = pool->ended;
    pool->ended = self;
    pthread_cond_signal(&pool->thread_ended);
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static void join_all(struct thread *thread)
{
    while (thread) {
        struct thread *next = thread->next;
        pthread_join(thread->id, NULL);
        free(thread);
        thread = next;
    }
}

/* Under the lock. Returns 0 or an errno. Signals are for the loop thread: a worker blocks all of them. */
static int start_thread(struct worker_pool *pool)
{
    struct thread *thread = malloc(sizeof *thread);
    if (!thread)
        return ENOMEM;
    thread->pool = pool;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int sys = FAULT("base.thread") ? EAGAIN : pthread_create(&thread->id, NULL, thread_main, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (sys != 0) {
        free(thread);
        return sys;
    }
    pool->threads++;
    pool->free_threads++;
    return 0;
}

struct worker_pool *worker_pool_create(struct mailbox *mailbox, unsigned keep_idle, struct err *err)
{
    struct worker_pool *pool = FAULT("base.worker_pool") ? NULL : calloc(1, sizeof *pool);
    if (!pool) {
        err_set(err, ERR_NO_MEMORY, "no memory for the worker pool");
        return NULL;
    }
    pool->mailbox = mailbox;
    pool->keep_idle = keep_idle ? keep_idle : KEEP_IDLE_DEFAULT;
    pool->last = &pool->first;
    pthread_mutex_init(&pool->lock, NULL); /* these can not fail on Linux */
    pthread_cond_init(&pool->work_came, NULL);
    pthread_cond_init(&pool->thread_ended, NULL);
    return pool;
}

static void deliver(struct mail *mail)
{
    struct work *work = (struct work *)((char *)mail - offsetof(struct work, mail));
    work->pool->pending--;
    work->done(work);
}

int worker_submit(struct worker_pool *pool, struct work *work, struct err *err)
{
    work->pool = pool;
    work->mail.deliver = deliver;
    work->next = NULL;
    pthread_mutex_lock(&pool->lock);
    int sys = pool->free_threads > pool->queued ? 0 : start_thread(pool);
    if (sys == 0) {
        *pool->last = work;
        pool->last = &work->next;
        pool->queued++;
        pool->pending++;
        pthread_cond_signal(&pool->work_came);
    }
    struct thread *ended = pool->ended;
    pool->ended = NULL;
    pthread_mutex_unlock(&pool->lock);
    join_all(ended);
    if (sys != 0)
        return err_set(err, ERR_NO_MEMORY, "no thread for blocking work: %s", strerror(sys));
    return 0;
}

void worker_cancel(struct work *work)
{
    atomic_store(&work->cancelled, true);
}

size_t worker_pool_pending(const struct worker_pool *pool)
{
    return pool->pending;
}

void worker_pool_destroy(struct worker_pool *pool)
{
    assert(pool->pending == 0);
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->work_came);
    while (pool->threads > 0)
        pthread_cond_wait(&pool->thread_ended, &pool->lock);
    struct thread *ended = pool->ended;
    pthread_mutex_unlock(&pool->lock);
    join_all(ended);
    pthread_cond_destroy(&pool->thread_ended);
    pthread_cond_destroy(&pool->work_came);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
