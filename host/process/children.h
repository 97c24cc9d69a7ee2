/* The host's children, each known by its number until it is reaped. Loop thread.
 *
 * Two kinds: the main process of a `struct process`, and strays, which came to the host because their parent
 * ended. */
#ifndef MOONRUNNER_PROCESS_CHILDREN_H
#define MOONRUNNER_PROCESS_CHILDREN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct process;

struct child {
    struct child *next; /* in its bucket */
    pid_t pid;
    uint64_t start;        /* as proc_stat.start */
    struct process *owner; /* NULL: a stray that could be anybody's */
    bool main;
    bool asked;    /* a stray that was sent TERM */
    bool searched; /* a stray that is a root of the search that runs */
};

#define CHILD_BUCKETS 256
struct children {
    struct child *buckets[CHILD_BUCKETS];
    size_t strays;
};

/* Embedded in the caller's object, or allocated by it: the table only links. */
void children_add(struct children *, struct child *);
struct child *children_find(const struct children *, pid_t);
void children_remove(struct children *, struct child *);
/* Calls fn for each stray; fn may not add or remove. */
void children_each_stray(const struct children *, void (*fn)(struct child *, void *), void *arg);

/* Forgets and frees the strays. */
void children_free_strays(struct children *);

/* Sends `signal` to a child that was not reaped yet, and to its process group unless that is the host's own.
 * *group is the group that had the signal last (0: none yet): it is not sent to the same one twice in a row.
 */
void child_signal(pid_t, int signal, pid_t *group);

#endif
