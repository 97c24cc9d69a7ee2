/* Starts one child by vfork: its cost does not grow with the host's memory. Loop thread. */
#ifndef MOONRUNNER_PROCESS_SPAWN_H
#define MOONRUNNER_PROCESS_SPAWN_H

#include <sys/types.h>

#include "base/err.h"
#include "process/process.h"

/* null_fd: /dev/null, open for reading and writing. Returns the child's number, a child that has called
 * execve; -1: err as process_spawn says it, and there is no child. The caller reaps. */
pid_t spawn_child(const struct spawn *, int null_fd, struct err *);

#endif
