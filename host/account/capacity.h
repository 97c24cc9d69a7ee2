/* What this host has to give to jobs: what its container was given, not what the machine has. Any thread. */
#ifndef MOONRUNNER_ACCOUNT_CAPACITY_H
#define MOONRUNNER_ACCOUNT_CAPACITY_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Whole cores, bytes. As a cap: 0 = no cap. */
struct amount {
    uint32_t cores;
    uint64_t mem, disk;
};

struct gpu {
    unsigned char uuid[16];
    uint64_t mem; /* of the whole card */
};

struct capacity {
    struct amount total;
    const struct gpu *gpus; /* NULL when there is none */
    size_t n_gpus;
    char why[512]; /* a sentence: where each figure came from */
};

/* Kept back for the host itself. */
#define CAPACITY_RESERVE_MEMORY (UINT64_C(128) << 20)

/* Where to look; a test looks elsewhere. */
struct capacity_source {
    const char *root; /* put before /proc and before every mount point; "" is the real thing */
    uint32_t cores;   /* what the affinity allows; 0 = ask the kernel */
};

/* Cores: the affinity, lowered by every CPU quota from our own cgroup up to the root of its mount (v1, v2 and
 * hybrid), rounded down, but at least one. Memory: the machine's, lowered by every memory limit on the same
 * way, less `reserve->mem`. Disk: what a common user may still write where disk_fd is, less `reserve->disk`.
 * Each at most `cap`. reserve, cap and source may be NULL. The GPUs are left empty. A cgroup file that is not
 * there limits nothing; one that can not be read or understood is an error that names it (file.*,
 * account.value). */
int capacity_detect(struct capacity *, int disk_fd, const struct amount *cap, const struct amount *reserve,
                    const struct capacity_source *source, struct err *);

#endif
