/* A pool of threads for calls that block; finished work comes back through a mailbox.
 *
 * Work that has started has a thread of its own at once (idle threads are reused): two works that talk
 * through a pipe can therefore never wait for each other's thread. */
#ifndef MOONRUNNER_BASE_WORKER_H
#define MOONRUNNER_BASE_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/mailbox.h"

struct worker_pool;

/* Embedded in what is to be done. The submitter fills run, done and sets cancelled to false; it must not
 * touch the rest of the enclosing object between worker_submit and done. */
struct work {
    void (*run)(struct work *);  /* on a worker thread */
    void (*done)(struct work *); /* on the mailbox's thread, exactly once after run */
    atomic_bool cancelled;       /* set by worker_cancel; run looks at it where it can stop early */
    struct mail mail;            /* the pool's, as the rest */
    struct work *next;
    struct worker_pool *pool;
};

/* keep_idle: how many idle threads are kept (0 = 8). The mailbox is borrowed. NULL: err says why. */
struct worker_pool *worker_pool_create(struct mailbox *, unsigned keep_idle, struct err *);
/* Loop thread. -1: no idle thread is there and none could be made; done is not called. */
int worker_submit(struct worker_pool *, struct work *, struct err *);
/* Only marks; done still comes. Any thread, while the work is pending. */
void worker_cancel(struct work *);
/* Loop thread. Works submitted whose done was not delivered yet. */
size_t worker_pool_pending(const struct worker_pool *);
/* Loop thread. Asserts that nothing is pending; joins all threads. */
void worker_pool_destroy(struct worker_pool *);

#endif
