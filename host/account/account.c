/* Bookings: a short list in the order of booking, and sums that are taken over it anew each time, so that
 * they can not drift. A host has tens of bookings, rarely a thousand. */
#include "account/account.h"

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"

struct booking {
    uint64_t id, owner;
    struct amount held;
    struct gpu_share *shares; /* mem is never 0 here: the whole card's memory stands for the whole card */
    size_t n_shares;
    unsigned parts; /* what is still held: ACCOUNT_COMPUTE, ACCOUNT_DISK */
};

struct account {
    struct capacity capacity;
    struct gpu *gpus; /* what capacity.gpus points to */
    struct booking *bookings;
    size_t n, room;
    uint64_t last_id;
};

int account_set_total(struct account *account, const struct capacity *capacity, struct err *err)
{
    struct gpu *gpus = NULL;

    if (capacity->n_gpus) {
        gpus = FAULT("account.capacity") ? NULL : calloc(capacity->n_gpus, sizeof *gpus);
        if (!gpus)
            return err_set(err, ERR_NO_MEMORY, "account: out of memory");
        memcpy(gpus, capacity->gpus, capacity->n_gpus * sizeof *gpus);
    }
    free(account->gpus);
    account->gpus = gpus;
    account->capacity = *capacity;
    account->capacity.gpus = gpus;
    return 0;
}

struct account *account_create(const struct capacity *capacity, struct err *err)
{
    struct account *account = FAULT("account.create") ? NULL : calloc(1, sizeof *account);

    if (!account) {
        err_set(err, ERR_NO_MEMORY, "account: out of memory");
        return NULL;
    }
    if (account_set_total(account, capacity, err)) {
        account_destroy(account);
        return NULL;
    }
    return account;
}

void account_destroy(struct account *account)
{
    if (!account)
        return;
    for (size_t i = 0; i < account->n; i++)
        free(account->bookings[i].shares);
    free(account->bookings);
    free(account->gpus);
    free(account);
}

const struct capacity *account_capacity(const struct account *account)
{
    return &account->capacity;
}

static uint64_t left(uint64_t total, uint64_t used)
{
    return total > used ? total - used : 0;
}

void account_read(const struct account *account, struct amount *total, struct amount *available)
{
    struct amount used = {0};

    /* No sum can overflow: each booking was within a total, and those that outlive a smaller total are not
     * added to. */
    for (size_t i = 0; i < account->n; i++) {
        const struct booking *booking = &account->bookings[i];
        if (booking->parts & ACCOUNT_COMPUTE) {
            used.cores += booking->held.cores;
            used.mem += booking->held.mem;
        }
        if (booking->parts & ACCOUNT_DISK)
            used.disk += booking->held.disk;
    }
    *total = account->capacity.total;
    available->cores = (uint32_t)left(total->cores, used.cores);
    available->mem = left(total->mem, used.mem);
    available->disk = left(total->disk, used.disk);
}

uint64_t account_gpu_free(const struct account *account, size_t at)
{
    const struct gpu *gpu = &account->gpus[at];
    uint64_t used = 0;

    for (size_t i = 0; i < account->n; i++) {
        const struct booking *booking = &account->bookings[i];
        if (!(booking->parts & ACCOUNT_COMPUTE))
            continue;
        for (size_t k = 0; k < booking->n_shares; k++)
            if (!memcmp(booking->shares[k].uuid, gpu->uuid, sizeof gpu->uuid))
                used += booking->shares[k].mem;
    }
    return left(gpu->mem, used);
}

static int check_amount(const struct account *account, const struct amount *amount, struct err *err)
{
    struct amount total, have;

    account_read(account, &total, &have);
    if (amount->cores > have.cores)
        return err_set(err, ERR_ACCOUNT_CORES, "cores: need %u, have %u", amount->cores, have.cores);
    if (amount->mem > have.mem)
        return err_set(err, ERR_ACCOUNT_MEMORY, "memory: need %llu, have %llu",
                       (unsigned long long)amount->mem, (unsigned long long)have.mem);
    if (amount->disk > have.disk)
        return err_set(err, ERR_ACCOUNT_DISK, "disk: need %llu, have %llu", (unsigned long long)amount->disk,
                       (unsigned long long)have.disk);
    return 0;
}

/* Writes the share to book, with the whole card's memory for 0. */
static int check_share(const struct account *account, const struct gpu_share *shares, size_t at,
                       struct gpu_share *out, struct err *err)
{
    size_t card = 0;

    while (card < account->capacity.n_gpus &&
           memcmp(account->gpus[card].uuid, shares[at].uuid, sizeof shares[at].uuid))
        card++;
    if (card == account->capacity.n_gpus)
        return err_set(err, ERR_ACCOUNT_VALUE, "gpus: number %zu of the request is no card of this host",
                       at + 1);
    for (size_t i = 0; i < at; i++)
        if (!memcmp(shares[i].uuid, shares[at].uuid, sizeof shares[at].uuid))
            return err_set(err, ERR_ACCOUNT_VALUE, "gpus: number %zu of the request is named twice", at + 1);
    uint64_t whole = account->gpus[card].mem, have = account_gpu_free(account, card);
    *out = shares[at];
    out->mem = shares[at].mem ? shares[at].mem : whole;
    if (out->mem > whole)
        return err_set(err, ERR_ACCOUNT_VALUE, "gpus: number %zu: need %llu, the card has %llu", at + 1,
                       (unsigned long long)out->mem, (unsigned long long)whole);
    if (!whole || out->mem > have)
        return err_set(err, ERR_ACCOUNT_GPUS, "gpus: number %zu: need %llu, have %llu", at + 1,
                       (unsigned long long)out->mem, (unsigned long long)have);
    return 0;
}

static int make_room(struct account *account, struct err *err)
{
    if (account->n < account->room)
        return 0;
    size_t room = account->room ? 2 * account->room : 16;
    struct booking *grown =
        FAULT("account.grow") ? NULL : realloc(account->bookings, room * sizeof *account->bookings);
    if (!grown)
        return err_set(err, ERR_NO_MEMORY, "account: out of memory");
    account->bookings = grown;
    account->room = room;
    return 0;
}

int account_book(struct account *account, uint64_t owner, const struct amount *amount,
                 const struct gpu_share *shares, size_t n, uint64_t *id, struct err *err)
{
    struct gpu_share *held = NULL;

    if (check_amount(account, amount, err) || make_room(account, err))
        return -1;
    /* Not even a list of repeated cards makes us allocate more than there are cards. */
    if (n > account->capacity.n_gpus)
        return err_set(err, ERR_ACCOUNT_GPUS, "gpus: need %zu, have %zu", n, account->capacity.n_gpus);
    if (n) {
        held = FAULT("account.shares") ? NULL : calloc(n, sizeof *held);
        if (!held)
            return err_set(err, ERR_NO_MEMORY, "account: out of memory");
    }
    for (size_t i = 0; i < n; i++)
        if (check_share(account, shares, i, &held[i], err)) {
            free(held);
            return -1;
        }
    account->bookings[account->n++] = (struct booking){
        .id = ++account->last_id,
        .owner = owner,
        .held = *amount,
        .shares = held,
        .n_shares = n,
        .parts = ACCOUNT_COMPUTE | ACCOUNT_DISK,
    };
    *id = account->last_id;
    return 0;
}

void account_release(struct account *account, uint64_t id, unsigned parts)
{
    size_t i = 0;

    while (i < account->n && account->bookings[i].id != id)
        i++;
    if (i == account->n)
        return;
    struct booking *booking = &account->bookings[i];
    booking->parts &= ~parts;
    if (booking->parts)
        return;
    free(booking->shares);
    memmove(booking, booking + 1, (--account->n - i) * sizeof *booking);
}

void account_each(const struct account *account,
                  void (*fn)(uint64_t booking, uint64_t owner, const struct amount *, void *), void *arg)
{
    for (size_t i = 0; i < account->n; i++) {
        const struct booking *booking = &account->bookings[i];
        struct amount held = {0};
        if (booking->parts & ACCOUNT_COMPUTE) {
            held.cores = booking->held.cores;
            held.mem = booking->held.mem;
        }
        if (booking->parts & ACCOUNT_DISK)
            held.disk = booking->held.disk;
        fn(booking->id, booking->owner, &held, arg);
    }
}
