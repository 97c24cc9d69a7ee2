/* What this host has and who holds it. Pure arithmetic; loop thread.
 *
 * Whatever is asked, the sum of what is booked never grows over the total. */
#ifndef MOONRUNNER_ACCOUNT_ACCOUNT_H
#define MOONRUNNER_ACCOUNT_ACCOUNT_H

#include <stddef.h>
#include <stdint.h>

#include "account/capacity.h"
#include "base/err.h"

struct account;

/* A part of a card. mem 0 = the whole card, which nobody else may hold then. */
struct gpu_share {
    unsigned char uuid[16];
    uint64_t mem;
};

enum {
    ACCOUNT_COMPUTE = 1, /* cores, memory, GPUs: free when the job's process tree is proven empty */
    ACCOUNT_DISK = 2,    /* free when its folder is gone */
};

/* Copies the capacity, its GPUs too. NULL: out of memory. */
struct account *account_create(const struct capacity *, struct err *);
/* Whatever is still booked is forgotten. NULL is allowed. */
void account_destroy(struct account *);

/* All or nothing; on -1 nothing has changed and err names the first of cores, memory, disk, gpus that is
 * missing, with need and have (account.*), or what is no sensible request: a card that is not here, named
 * twice, or too small (account.value). 0 cores are allowed. `owner` is for account_each; *booking is never 0
 * and never used again. */
int account_book(struct account *, uint64_t owner, const struct amount *, const struct gpu_share *, size_t n,
                 uint64_t *booking, struct err *);
/* Parts may be released apart, in any order; twice, or of an unknown booking, is a no-op. */
void account_release(struct account *, uint64_t booking, unsigned parts);

/* Less than is booked is allowed: free is 0 then, and nothing is taken away. -1: out of memory, nothing has
 * changed. */
int account_set_total(struct account *, const struct capacity *, struct err *);
/* Owned by the account; its GPUs and why included. Valid until account_set_total. */
const struct capacity *account_capacity(const struct account *);
void account_read(const struct account *, struct amount *total, struct amount *free);
/* Free memory of the i-th card of account_capacity. */
uint64_t account_gpu_free(const struct account *, size_t i);
/* What each booking still holds, in the order of booking. */
void account_each(const struct account *,
                  void (*fn)(uint64_t booking, uint64_t owner, const struct amount *, void *), void *arg);

#endif
