/* What /proc tells about processes. Any thread; nothing here is kept between calls. */
#ifndef MOONRUNNER_PROCESS_PROC_H
#define MOONRUNNER_PROCESS_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct proc_stat {
    pid_t pid, parent;
    char state;     /* R S D T Z …, as proc(5) has them */
    uint64_t start; /* clock ticks since the machine started */
};

/* A handle that names one process and never a later one with the same number: an open /proc/PID. -1 with
 * errno. */
int proc_open(pid_t);
/* false: it is gone, or its line makes no sense. */
bool proc_read_stat(int handle, struct proc_stat *);
/* One line of /proc/PID/stat (pure, for tests). */
bool proc_parse_stat(const char *text, struct proc_stat *);
/* -1 with errno. Never reaches another process than the one that was opened. */
int proc_signal(int handle, const struct proc_stat *, int signal);
/* Is `entry` ("NAME=value") in its environment? false also when that may not be read. */
bool proc_environment_holds(int handle, const char *entry);

struct proc_pids {
    pid_t *items;
    size_t n, capacity;
};
void proc_pids_free(struct proc_pids *);
/* Every process of the machine (or of our pid namespace), in no order. Replaces what is in it. */
int proc_list(struct proc_pids *, struct err *);
/* The children of this process, as far as the calling thread or the first thread of the process is their
 * parent (orphans come to the first). Replaces what is in it. Complete when nobody reaps meanwhile. */
int proc_children(struct proc_pids *, struct err *);

/* Now, in the unit of proc_stat.start, rounded down as the kernel does. */
uint64_t proc_now(void);

#endif
