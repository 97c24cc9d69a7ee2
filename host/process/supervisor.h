/* What process.c and strays.c share: a supervisor, and its processes, from the inside. Loop thread. */
#ifndef MOONRUNNER_PROCESS_SUPERVISOR_H
#define MOONRUNNER_PROCESS_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/worker.h"
#include "process/children.h"
#include "process/proc.h"
#include "process/process.h"
#include "process/tree.h"

#define NEVER UINT64_MAX

enum phase { PHASE_RUNNING, PHASE_ASKED, PHASE_KILLED };

struct process {
    struct process *next;
    struct supervisor *supervisor;
    struct child main;
    char *mark; /* "MOONRUNNER_ATTEMPT=…" out of its environment, or NULL */
    uint64_t grace_ms, kill_at;
    uint64_t started, ended; /* monotonic milliseconds */
    enum phase phase;
    bool main_ended;
    bool finished; /* on its way to on_end */
    size_t left;   /* strays it waits for, as counted in this turn */
    struct process_end end;
    void (*on_end)(struct process *, const struct process_end *, void *arg);
    void *arg;
};

struct search {
    struct work work;
    struct supervisor *supervisor;
    struct tree_query query;
    pid_t *roots;
    int found; /* what tree_kill returned */
};

struct supervisor {
    uv_signal_t sigchld;
    uv_timer_t timer;
    unsigned open_handles; /* not closed yet; the last one frees */
    struct worker_pool *pool;
    int null_fd;
    struct children children;
    struct process *processes; /* the newest first */
    size_t n_processes, n_ended;
    bool childless;        /* said wait4, after everything was reaped */
    struct proc_pids pids; /* kept to spare the allocation */
    struct search search;
    bool searching;
    unsigned kill_turns; /* turns in a row with a killed stray that still lives */
    uint64_t turn_at;    /* when to look again although nothing happened */
};

/* Looks at everything again (process.c). */
void supervisor_turn(struct supervisor *);

/* Makes every child of the host known that is not yet. -1: some may be missing, so nothing is proven. */
int strays_find(struct supervisor *);
/* Sets `left` of every process. */
void strays_count(struct supervisor *);
/* Sends every stray what its processes have come to: nothing, TERM, KILL. Sets turn_at when it is to be
 * called again. */
void strays_signal(struct supervisor *, uint64_t now);

#endif
