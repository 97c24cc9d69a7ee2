/* worker: done comes once for every work, nobody waits behind another, and the pool leaves no thread. */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/worker.h"

static struct {
    struct mailbox box;
    struct worker_pool *pool;
    sem_t woken;
} world;

static void wake(void *arg)
{
    (void)arg;
    sem_post(&world.woken);
}

static int setup(void **state)
{
    (void)state;
    struct err err;
    sem_init(&world.woken, 0, 0);
    if (mailbox_init(&world.box, wake, NULL, &err) < 0)
        return -1;
    world.pool = worker_pool_create(&world.box, 2, &err);
    return world.pool ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    worker_pool_destroy(world.pool);
    mailbox_close(&world.box);
    mailbox_fini(&world.box);
    sem_destroy(&world.woken);
    fault_reset();
    return 0;
}

static void finish_all(void)
{
    while (worker_pool_pending(world.pool) > 0) {
        sem_wait(&world.woken);
        mailbox_drain(&world.box);
    }
}

/* --- a work that adds
 * ---------------------------------------------------------------------------------------- */

struct sum {
    struct work work; /* first: a work is its sum */
    pthread_t loop, ran_on;
    unsigned long n, result;
    unsigned done;
};

static void run_sum(struct work *work)
{
    struct sum *sum = (struct sum *)work;
    sum->ran_on = pthread_self();
    for (unsigned long i = 1; i <= sum->n; i++)
        sum->result += i;
}

static void done_sum(struct work *work)
{
    struct sum *sum = (struct sum *)work;
    assert_true(pthread_equal(pthread_self(), sum->loop));
    sum->done++;
}

static void prepare(struct sum *sum, unsigned long n)
{
    *sum = (struct sum){.work = {.run = run_sum, .done = done_sum}, .loop = pthread_self(), .n = n};
}

static void every_work_is_run_elsewhere_and_done_here_exactly_once(void **state)
{
    (void)state;
    enum { N = 200 };
    struct sum *sums = calloc(N, sizeof *sums);
    struct err err;
    for (unsigned i = 0; i < N; i++) {
        prepare(&sums[i], i);
        assert_int_equal(worker_submit(world.pool, &sums[i].work, &err), 0);
    }
    assert_true(worker_pool_pending(world.pool) > 0);
    finish_all();
    for (unsigned long i = 0; i < N; i++) {
        assert_int_equal(sums[i].done, 1);
        assert_int_equal(sums[i].result, i * (i + 1) / 2);
        assert_false(pthread_equal(sums[i].ran_on, pthread_self()));
    }
    free(sums);
}

/* --- works that wait for each other
 * -------------------------------------------------------------------------- */

enum { TOGETHER = 12 };

struct meeting {
    struct work work;
    pthread_barrier_t *barrier;
};

static void run_meeting(struct work *work)
{
    pthread_barrier_wait(((struct meeting *)work)->barrier);
}

static void done_nothing(struct work *work)
{
    (void)work;
}

static void works_that_wait_for_each_other_all_run_at_once(void **state)
{
    (void)state;
    struct err err;
    for (int round = 0; round < 20; round++) {
        pthread_barrier_t barrier;
        pthread_barrier_init(&barrier, NULL, TOGETHER);
        struct meeting meetings[TOGETHER];
        for (int i = 0; i < TOGETHER; i++) {
            meetings[i] =
                (struct meeting){.work = {.run = run_meeting, .done = done_nothing}, .barrier = &barrier};
            assert_int_equal(worker_submit(world.pool, &meetings[i].work, &err), 0);
        }
        finish_all(); /* with fewer threads than works this would hang */
        pthread_barrier_destroy(&barrier);
    }
}

/* --- cancelling
 * ---------------------------------------------------------------------------------------------- */

struct spin {
    struct work work;
    sem_t started;
};

static void run_spin(struct work *work)
{
    sem_post(&((struct spin *)work)->started);
    while (!atomic_load(&work->cancelled))
        ;
}

static void cancelling_marks_a_work_and_done_still_comes(void **state)
{
    (void)state;
    struct spin spin = {.work = {.run = run_spin, .done = done_nothing}};
    struct err err;
    sem_init(&spin.started, 0, 0);
    assert_int_equal(worker_submit(world.pool, &spin.work, &err), 0);
    sem_wait(&spin.started);
    assert_int_equal(worker_pool_pending(world.pool), 1);
    worker_cancel(&spin.work);
    finish_all();
    sem_destroy(&spin.started);
}

/* --- resubmitting
 * -------------------------------------------------------------------------------------------- */

static void done_again(struct work *work)
{
    struct sum *sum = (struct sum *)work;
    struct err err;
    if (++sum->done < 3)
        assert_int_equal(worker_submit(world.pool, work, &err), 0);
}

static void a_work_may_be_submitted_again_from_its_done(void **state)
{
    (void)state;
    struct sum sum;
    struct err err;
    prepare(&sum, 10);
    sum.work.done = done_again;
    assert_int_equal(worker_submit(world.pool, &sum.work, &err), 0);
    finish_all();
    assert_int_equal(sum.done, 3);
    assert_int_equal(sum.result, 3 * 55);
}

/* --- signals, failures
 * --------------------------------------------------------------------------------------- */

static void run_mask(struct work *work)
{
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    ((struct sum *)work)->result = (unsigned long)(sigismember(&mask, SIGTERM) + sigismember(&mask, SIGCHLD));
}

static void a_worker_takes_no_signals_of_the_host(void **state)
{
    (void)state;
    struct sum sum;
    struct err err;
    sigset_t mask;
    prepare(&sum, 0);
    sum.work.run = run_mask;
    assert_int_equal(worker_submit(world.pool, &sum.work, &err), 0);
    finish_all();
    assert_int_equal(sum.result, 2);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_int_equal(sigismember(&mask, SIGTERM), 0);
}

static void without_a_thread_a_submit_fails_and_done_is_not_called(void **state)
{
    (void)state;
    struct sum sum;
    struct err err;
    prepare(&sum, 10);
    fault_arm("base.thread", 1);
    assert_int_equal(worker_submit(world.pool, &sum.work, &err), -1);
    assert_int_equal(err.code, ERR_NO_MEMORY);
    assert_true(err.retryable);
    assert_int_equal(worker_pool_pending(world.pool), 0);
    assert_int_equal(sum.done, 0);
    assert_int_equal(worker_submit(world.pool, &sum.work, &err), 0);
    finish_all();
    assert_int_equal(sum.done, 1);
}

static void a_pool_that_can_not_be_made_says_so(void **state)
{
    (void)state;
    struct err err;
    fault_arm("base.worker_pool", 1);
    assert_null(worker_pool_create(&world.box, 0, &err));
    assert_int_equal(err.code, ERR_NO_MEMORY);
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_work_is_run_elsewhere_and_done_here_exactly_once),
        TEST(works_that_wait_for_each_other_all_run_at_once),
        TEST(cancelling_marks_a_work_and_done_still_comes),
        TEST(a_work_may_be_submitted_again_from_its_done),
        TEST(a_worker_takes_no_signals_of_the_host),
        TEST(without_a_thread_a_submit_fails_and_done_is_not_called),
        TEST(a_pool_that_can_not_be_made_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
