/* Processes: from spawn to the proof that nothing of the tree is left. Loop thread, but for process_end_run.
 *
 * Every process that is spawned here leads a session of its own, dies with the host (PR_SET_PDEATHSIG), and
 * is a subreaper, as the host is one. So what it forks stays below it while it lives, whatever it does, and
 * becomes a child of the host when it ends. From this follows the proof: once the main process has ended, its
 * tree is empty exactly when the host has no child that is not itself a main process. Only the loop thread
 * reaps, so the number of a child that was not reaped yet names that child and nothing else: signals to
 * children need no further care.
 *
 *   spawn ──> running ──(stop: TERM)──> asked ──(grace is over: KILL)──> killed
 *                └──────────┴─────────────┴── main ended, no stray left ──> on_end
 *
 * The end of the main process is the end of the job: what it leaves behind (strays) gets TERM, grace, KILL
 * too. A child of the host that carries no mark and no known session is taken for a stray of the processes
 * that have ended since it was born: all of them wait for it. */
#ifndef MOONRUNNER_PROCESS_PROCESS_H
#define MOONRUNNER_PROCESS_PROCESS_H

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <uv.h>

#include "base/err.h"

struct worker_pool;
struct supervisor;
struct process;

/* The names in the environment by which the processes of one attempt, and of one run of the host, are known.
 */
#define PROCESS_MARK_ATTEMPT "MOONRUNNER_ATTEMPT"
#define PROCESS_MARK_RUN "MOONRUNNER_RUN"

/* Makes the host a subreaper and begins to reap its children: all of them, so nothing else in the program may
 * wait for children. Borrows loop and pool. At most one in a program. */
struct supervisor *supervisor_create(uv_loop_t *, struct worker_pool *, struct err *);
/* Processes whose on_end was not called yet. */
size_t supervisor_count(const struct supervisor *);
/* Asserts that no process is left and that the pool has nothing of ours. The loop must run once more. */
void supervisor_destroy(struct supervisor *);

struct process_limit {
    int resource; /* RLIMIT_… */
    rlim_t soft, hard;
};
/* RLIMIT_NOFILE for "nofile", by the names that prlimit(1) uses; -1: unknown. */
int process_limit_find(const char *name);

struct process_end {
    int code, signal;                         /* of the main process: one of them, the other is -1 */
    struct rusage usage;                      /* of the main process, what it waited for, and its strays */
    int64_t started_ms, ended_ms, emptied_ms; /* wall clock; the differences are those of the monotonic one */
    unsigned strays;                          /* processes that outlived the main one */
    bool stopped;                             /* process_stop came before the main process ended */
    bool killed;                              /* KILL was needed */
};

/* Start from SPAWN_DEFAULT: its -1 mean what the comments say. Everything is borrowed for the call. */
struct spawn {
    const char *path;                /* not searched in PATH; relative to dir_fd */
    char *const *argv, *const *envp; /* NULL-ended; nothing is inherited that is not in envp */
    int dir_fd;                      /* working directory; AT_FDCWD: the host's */
    int stdin_fd;                    /* -1: /dev/null */
    int out_fd;                      /* stdout and stderr, opened with O_APPEND; -1: /dev/null */
    int cgroup_procs_fd;             /* the child writes itself into it; -1: none */
    const struct process_limit *limits;
    size_t n_limits;
    uid_t uid;         /* -1: the host's */
    gid_t gid;         /* -1: the host's; supplementary groups are dropped when it is given */
    uint64_t grace_ms; /* between TERM and KILL for strays when the main process ends by itself */
    /* Once, when the main process has ended and the tree is proven empty; from the loop, never from inside a
     * call to this module. The process is freed when it returns. */
    void (*on_end)(struct process *, const struct process_end *, void *arg);
    void *arg;
};
#define SPAWN_DEFAULT                                                                                        \
    ((struct spawn){.dir_fd = AT_FDCWD,                                                                      \
                    .stdin_fd = -1,                                                                          \
                    .out_fd = -1,                                                                            \
                    .cgroup_procs_fd = -1,                                                                   \
                    .uid = (uid_t)-1,                                                                        \
                    .gid = (gid_t)-1})

/* NULL: err is process.<the step that failed> and says "PATH: STEP: what errno means"; nothing was left
 * behind. Blocks until the child has called execve (or failed before). */
struct process *process_spawn(struct supervisor *, const struct spawn *, struct err *);
pid_t process_pid(const struct process *);
/* TERM to the main process's group, KILL to the whole tree after grace_ms, and again until it is empty. 0:
 * KILL now. Idempotent; the earlier KILL wins. */
void process_stop(struct process *, uint64_t grace_ms);

/* Kills what dead runs left: every process whose environment holds MOONRUNNER_RUN=<run>, and what descends
 * from it. Returns how many there were; -1: some still lived after limit_ms, or /proc could not be read.
 * Blocking: worker thread. The caller itself is spared. */
int process_end_run(const char *run, uint64_t limit_ms, struct err *);

#endif
