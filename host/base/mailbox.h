/* Hands items from any thread to one reading thread.
 *
 * Flow is not bounded here: it is bounded by pipes, and by one request a task. */
#ifndef MOONRUNNER_BASE_MAILBOX_H
#define MOONRUNNER_BASE_MAILBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* Embedded in what is sent. The poster's until it is posted, the reader's after. */
struct mail {
    struct mail *next;
    void (*deliver)(struct mail *); /* runs on the reader's thread */
};

struct mailbox {
    pthread_mutex_t lock;
    struct mail *first, **last;
    void (*wake)(void *);
    void *wake_arg;
    bool closed;
};

/* `wake` is called by the poster when the box was empty (uv_async_send): thread-safe, never blocking. */
int mailbox_init(struct mailbox *, void (*wake)(void *), void *arg, struct err *);
/* Any thread. Never blocks, never fails; order is kept per poster. false: the box is closed, the mail stays
 * yours. */
bool mailbox_post(struct mailbox *, struct mail *);
/* Reader only. Delivers what was there at entry, in order; what deliver() posts waits for the next turn
 * (task.h, invariant 3). Returns how many; when more came meanwhile, `wake` has been called again. */
size_t mailbox_drain(struct mailbox *);
/* Reader only. After it every post returns false; what is inside is delivered by one last drain. */
void mailbox_close(struct mailbox *);
/* Asserts closed and empty. */
void mailbox_fini(struct mailbox *);

#endif
