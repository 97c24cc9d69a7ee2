/* The limits on this process that cgroups set: v1, v2 and both at once. Part of capacity.c. Any thread. */
#ifndef MOONRUNNER_ACCOUNT_CGROUP_H
#define MOONRUNNER_ACCOUNT_CGROUP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct cgroup_limits {
    double cores;         /* INFINITY: no quota */
    uint64_t mem;         /* UINT64_MAX: no limit */
    char cores_from[256]; /* the file that set it, without the root; "" when none did */
    char mem_from[256];
};

/* Reads every limit from our own group up to the root of its mount; the lowest counts. `root` is put before
 * /proc and before every mount point. err: file.*, account.value; a file that is not there is no error. */
int cgroup_read_limits(const char *root, struct cgroup_limits *, struct err *);

/* A whole small file into text, NUL-terminated, at most size - 1 bytes. 1: read; 0: it is not there; -1: err.
 */
int small_file_read(const char *path, char *text, size_t size, struct err *);

#endif
