/* Kills trees of processes that other trees can not outgrow meanwhile. Blocking: worker thread. */
#ifndef MOONRUNNER_PROCESS_TREE_H
#define MOONRUNNER_PROCESS_TREE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/* What belongs to the trees: the roots, every process whose environment holds `mark`, and all that descends
 * from them. Never the caller itself. */
struct tree_query {
    const pid_t *roots; /* children of this process; those that were reaped meanwhile are passed over */
    size_t n_roots;
    uint64_t before;  /* proc_now() when the roots were listed: a later child with a root's number is none */
    const char *mark; /* "NAME=value"; NULL: none */
};

/* Stops (SIGSTOP) what it finds, looks again until all is stopped, kills it, and waits for its end until
 * `deadline` (monotonic milliseconds). What was born in between is left for the next call: 0 says that there
 * is nothing more. Returns how many processes it found alive, or -1. */
int tree_kill(const struct tree_query *, uint64_t deadline, struct err *);

#endif
