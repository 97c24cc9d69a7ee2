/* Kills trees of processes that fork as fast as they can.
 *
 * A parent that is killed first hides its children from the search, and a process that was not found yet goes
 * on forking. So all that is found is stopped first, and the search repeated until it finds nothing that
 * runs: then the tree stands still and can be killed at leisure. */
#include "process/tree.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "process/proc.h"
#include "process/process.h"

#define FREEZE_PASSES 32 /* a process in uninterruptible sleep does not stop, and does not fork either */
#define PAUSE_FIRST_US 500
#define PAUSE_LAST_US 20000

struct entry {
    struct proc_stat stat;
    bool member;
};
struct table {
    struct proc_pids pids;
    struct entry *entries; /* ordered by pid */
    size_t n, capacity;
};

static void table_free(struct table *table)
{
    proc_pids_free(&table->pids);
    free(table->entries);
}

static int compare_pids(const void *a, const void *b)
{
    pid_t x = ((const struct entry *)a)->stat.pid, y = ((const struct entry *)b)->stat.pid;
    return (x > y) - (x < y);
}

static struct entry *find_entry(struct table *table, pid_t pid)
{
    struct entry key = {.stat.pid = pid};
    return table->n ? bsearch(&key, table->entries, table->n, sizeof key, compare_pids) : NULL;
}

static bool alive(const struct proc_stat *stat)
{
    return stat->state != 'Z' && stat->state != 'X';
}

static int table_reserve(struct table *table, struct err *err)
{
    if (table->pids.n <= table->capacity)
        return 0;
    struct entry *entries =
        FAULT("process.tree") ? NULL : realloc(table->entries, table->pids.n * sizeof *entries);
    if (!entries)
        return err_set(err, ERR_NO_MEMORY, "looking at all processes: out of memory");
    table->entries = entries;
    table->capacity = table->pids.n;
    return 0;
}

static void find_roots(struct table *table, const struct tree_query *query)
{
    for (size_t i = 0; i < query->n_roots; i++) {
        struct entry *entry = find_entry(table, query->roots[i]);
        if (entry && entry->stat.parent == getpid() && entry->stat.start <= query->before)
            entry->member = true;
    }
}

/* Parents mostly have the smaller numbers, so that one or two rounds do. */
static void find_descendants(struct table *table)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = 0; i < table->n; i++) {
            struct entry *entry = &table->entries[i];
            struct entry *parent = entry->member ? NULL : find_entry(table, entry->stat.parent);
            if (parent && parent->member && entry->stat.pid != getpid())
                entry->member = changed = true;
        }
    }
}

static int table_read(struct table *table, const struct tree_query *query, struct err *err)
{
    if (proc_list(&table->pids, err) < 0 || table_reserve(table, err) < 0)
        return -1;
    table->n = 0;
    for (size_t i = 0; i < table->pids.n; i++) {
        struct entry entry = {.member = false};
        int handle = proc_open(table->pids.items[i]);
        if (handle < 0)
            continue;
        if (proc_read_stat(handle, &entry.stat)) {
            entry.member = query->mark && entry.stat.pid != getpid() && alive(&entry.stat) &&
                           proc_environment_holds(handle, query->mark);
            table->entries[table->n++] = entry;
        }
        close(handle);
    }
    if (table->n)
        qsort(table->entries, table->n, sizeof *table->entries, compare_pids);
    find_roots(table, query);
    find_descendants(table);
    return 0;
}

/* Sends `signal` to a member that still is the process that was seen; 0 only looks. false: it is gone. */
static bool signal_member(struct proc_stat *seen, int signal)
{
    struct proc_stat now;
    int handle = proc_open(seen->pid);
    if (handle < 0)
        return false;
    bool there = proc_read_stat(handle, &now) && now.start == seen->start && alive(&now) &&
                 (signal == 0 || proc_signal(handle, &now, signal) == 0);
    close(handle);
    return there;
}

/* Returns how many members run; they were told to stop. */
static size_t freeze(struct table *table)
{
    size_t running = 0;
    for (size_t i = 0; i < table->n; i++) {
        struct entry *entry = &table->entries[i];
        if (entry->member && alive(&entry->stat) && entry->stat.state != 'T' && entry->stat.state != 't')
            running += signal_member(&entry->stat, SIGSTOP);
    }
    return running;
}

static void pause_us(unsigned us)
{
    struct timespec time = {.tv_nsec = (long)us * 1000};
    nanosleep(&time, NULL);
}

static void wait_for_end(struct table *table, uint64_t deadline)
{
    unsigned pause = PAUSE_FIRST_US;
    for (size_t i = 0; i < table->n; i++) {
        struct entry *entry = &table->entries[i];
        while (entry->member && signal_member(&entry->stat, 0) && clock_monotonic_ms() < deadline) {
            pause_us(pause);
            pause = pause * 2 < PAUSE_LAST_US ? pause * 2 : PAUSE_LAST_US;
        }
    }
}

int tree_kill(const struct tree_query *query, uint64_t deadline, struct err *err)
{
    struct table table = {0};
    int found = 0, status = table_read(&table, query, err);
    for (int pass = 0; status == 0 && freeze(&table) > 0 && pass < FREEZE_PASSES; pass++)
        status = table_read(&table, query, err);
    /* Also after a failed search: what is already stopped must not stay so. Children first, so that none of
     * them gets another parent while it lives. */
    for (size_t i = table.n; i-- > 0;) {
        struct entry *entry = &table.entries[i];
        entry->member = entry->member && signal_member(&entry->stat, SIGKILL);
        found += entry->member;
    }
    wait_for_end(&table, deadline);
    table_free(&table);
    return status < 0 ? -1 : found;
}

int process_end_run(const char *run, uint64_t limit_ms, struct err *err)
{
    char mark[64];
    int length = snprintf(mark, sizeof mark, PROCESS_MARK_RUN "=%s", run);
    if (length < 0 || (size_t)length >= sizeof mark || !*run)
        return err_set(err, ERR_INTERNAL, "ending a run: no name of a run: %.20s", run);
    struct tree_query query = {.mark = mark};
    uint64_t deadline = clock_monotonic_ms() + limit_ms;
    int total = 0;
    /* Twice: a process that is just calling execve shows no environment for a moment. */
    for (int quiet = 0; quiet < 2;) {
        int found = tree_kill(&query, deadline, err);
        if (found < 0)
            return -1;
        if (found > 0 && clock_monotonic_ms() >= deadline)
            return err_set(err, ERR_PROCESS_ALIVE, "run %s: %d processes were still alive after %llu ms", run,
                           found, (unsigned long long)limit_ms);
        quiet = found > 0 ? 0 : quiet + 1;
        total += found;
        pause_us(PAUSE_FIRST_US);
    }
    return total;
}
