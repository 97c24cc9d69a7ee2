/* Bounded bytes between two threads: a ring.
 *
 * The writer fills free bytes and the reader looks at taken ones outside the lock: the two parts of the ring
 * are disjoint, and only their sizes change under it. A reader is given at most a quarter of the ring at
 * once, so that the writer works on while the reader does. */
#include "base/pipe.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"

#define CAPACITY_DEFAULT ((size_t)4 << 20)

struct pipe {
    char *ring;
    size_t capacity;
    size_t lent; /* reader only: bytes given out by the last pipe_read */

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    size_t start, used;
    bool closed, aborted;
    struct err why;
};

struct pipe *pipe_create(size_t capacity, struct err *err)
{
    struct pipe *p = FAULT("base.pipe_create") ? NULL : calloc(1, sizeof *p);
    if (p) {
        p->capacity = capacity ? capacity : CAPACITY_DEFAULT;
        p->ring = malloc(p->capacity);
    }
    if (!p || !p->ring) {
        free(p);
        err_set(err, ERR_NO_MEMORY, "no memory for a pipe");
        return NULL;
    }
    pthread_mutex_init(&p->lock, NULL); /* these can not fail on Linux */
    pthread_cond_init(&p->changed, NULL);
    return p;
}

void pipe_destroy(struct pipe *p)
{
    if (!p)
        return;
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p->ring);
    free(p);
}

/* Under the lock: -1 and the aborter's reason when the pipe is aborted. */
static int check_aborted(const struct pipe *p, struct err *err)
{
    if (!p->aborted)
        return 0;
    if (err)
        *err = p->why;
    return -1;
}

/* Writer: waits for free bytes and lends them, as many as lie together. */
static int lend_space(struct pipe *p, char **space, size_t *size, struct err *err)
{
    pthread_mutex_lock(&p->lock);
    while (!p->aborted && p->used == p->capacity)
        pthread_cond_wait(&p->changed, &p->lock);
    size_t end = (p->start + p->used) % p->capacity;
    size_t to_edge = p->capacity - end;
    size_t room = p->capacity - p->used;
    *space = p->ring + end;
    *size = room < to_edge ? room : to_edge;
    int status = check_aborted(p, err);
    pthread_mutex_unlock(&p->lock);
    return status;
}

static void commit(struct pipe *p, size_t size)
{
    pthread_mutex_lock(&p->lock);
    p->used += size;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

int pipe_write(struct pipe *p, const void *data, size_t size, struct err *err)
{
    const char *bytes = data;
    while (size > 0) {
        char *space;
        size_t n;
        if (lend_space(p, &space, &n, err) < 0)
            return -1;
        if (n > size)
            n = size;
        memcpy(space, bytes, n);
        commit(p, n);
        bytes += n;
        size -= n;
    }
    return 0;
}

void pipe_close(struct pipe *p)
{
    pthread_mutex_lock(&p->lock);
    p->closed = true;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

ssize_t pipe_read(struct pipe *p, const void **data, struct err *err)
{
    size_t most = p->capacity < 4 ? 1 : p->capacity / 4;
    pthread_mutex_lock(&p->lock);
    if (p->lent > 0) {
        p->start = (p->start + p->lent) % p->capacity;
        p->used -= p->lent;
        p->lent = 0;
        pthread_cond_signal(&p->changed);
    }
    while (!p->aborted && !p->closed && p->used == 0)
        pthread_cond_wait(&p->changed, &p->lock);
    ssize_t result = check_aborted(p, err);
    if (result == 0) {
        size_t to_edge = p->capacity - p->start;
        size_t n = p->used < to_edge ? p->used : to_edge;
        p->lent = n < most ? n : most;
        *data = p->ring + p->start;
        result = (ssize_t)p->lent;
    }
    pthread_mutex_unlock(&p->lock);
    return result;
}

void pipe_abort(struct pipe *p, const struct err *why)
{
    pthread_mutex_lock(&p->lock);
    if (!p->aborted) {
        p->aborted = true;
        p->why = *why;
    }
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

/* Fails with errno's text, also for the other side. */
static int fail_file(struct pipe *p, const char *name, struct err *err)
{
    struct err why;
    err_set_file(&why, errno, "%s", name);
    pipe_abort(p, &why);
    if (err)
        *err = why;
    return -1;
}

int pipe_write_file(struct pipe *p, int fd, const char *name, struct err *err)
{
    for (;;) {
        char *space;
        size_t size;
        if (lend_space(p, &space, &size, err) < 0)
            return -1;
        ssize_t n = FAULT("base.pipe_write_file") ? (errno = EIO, -1) : read(fd, space, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_file(p, name, err);
        if (n == 0)
            break;
        commit(p, (size_t)n);
    }
    pipe_close(p);
    return 0;
}

int pipe_read_file(struct pipe *p, int fd, const char *name, struct err *err)
{
    for (;;) {
        const void *data;
        ssize_t size = pipe_read(p, &data, err);
        if (size <= 0)
            return (int)size;
        const char *bytes = data;
        while (size > 0) {
            ssize_t n = FAULT("base.pipe_read_file") ? (errno = ENOSPC, -1) : write(fd, bytes, (size_t)size);
            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0)
                return fail_file(p, name, err);
            bytes += n;
            size -= n;
        }
    }
}
