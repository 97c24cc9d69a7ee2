/* Strays: children of the host that outlived the main process that they descend from. Whose they are,
 * and their end.
 *
 * Killing goes level by level: a stray that dies hands its children to the host, which finds them in the next
 * turn. Trees that are deep, or grow meanwhile, are also searched in /proc and stopped as a whole, by a
 * worker (tree.c). */
#include "process/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"

#define RETRY_FIRST_MS 2 /* between two looks at killed strays that did not end yet; doubles */
#define RETRY_LAST_MS 200
#define SEARCH_AFTER 2     /* turns with killed strays until /proc is searched too */
#define SEARCH_WAIT_MS 100 /* how long a search waits for what it killed */

/* By session, which only setsid leaves; else by the mark, which only a new environment loses. Those that have
 * ended come first: the children of a main process that lives do not come to the host. */
static struct process *find_owner(const struct supervisor *supervisor, pid_t pid, int handle)
{
    pid_t session = getsid(pid);
    for (struct process *p = supervisor->processes; p; p = p->next) {
        if (p->main.pid == session)
            return p;
    }
    for (int ended = 1; ended >= 0; ended--) {
        for (struct process *p = supervisor->processes; p; p = p->next) {
            if (p->main_ended == ended && p->mark && proc_environment_holds(handle, p->mark))
                return p;
        }
    }
    return NULL;
}

/* Does the end of `process`, whose main process has ended, wait for this stray? */
static bool waits_for(const struct process *process, const struct child *stray)
{
    return stray->owner == process || (!stray->owner && stray->start >= process->main.start);
}

static int add_stray(struct supervisor *supervisor, pid_t pid, struct err *err)
{
    struct proc_stat stat;
    int handle = FAULT("process.stray") ? (errno = EMFILE, -1) : proc_open(pid);
    if (handle < 0 || !proc_read_stat(handle, &stat)) {
        int sys = errno;
        if (handle >= 0)
            close(handle);
        return err_set_file(err, sys, "/proc/%d", (int)pid);
    }
    struct child *stray = calloc(1, sizeof *stray);
    if (stray) {
        *stray = (struct child){.pid = pid, .start = stat.start};
        stray->owner = find_owner(supervisor, pid, handle);
        children_add(&supervisor->children, stray);
        for (struct process *p = supervisor->processes; p; p = p->next)
            p->end.strays += p->main_ended && waits_for(p, stray);
    }
    close(handle);
    return stray ? 0 : err_set(err, ERR_NO_MEMORY, "a stray process: out of memory");
}

int strays_find(struct supervisor *supervisor)
{
    struct err err;
    if (proc_children(&supervisor->pids, &err) < 0)
        return -1;
    for (size_t i = 0; i < supervisor->pids.n; i++) {
        pid_t pid = supervisor->pids.items[i];
        if (!children_find(&supervisor->children, pid) && add_stray(supervisor, pid, &err) < 0)
            return -1;
    }
    return 0;
}

static void count_stray(struct child *stray, void *arg)
{
    struct supervisor *supervisor = arg;
    for (struct process *p = supervisor->processes; p; p = p->next)
        p->left += p->main_ended && waits_for(p, stray);
}

void strays_count(struct supervisor *supervisor)
{
    for (struct process *p = supervisor->processes; p; p = p->next)
        p->left = 0;
    children_each_stray(&supervisor->children, count_stray, supervisor);
}

struct round {
    struct supervisor *supervisor;
    pid_t group;  /* see child_signal */
    pid_t *roots; /* when a search begins: the strays that are to be killed; NULL otherwise */
    size_t n_killed;
};

/* Sends the stray what the furthest of the processes that wait for it has come to. */
static void signal_stray(struct child *stray, void *arg)
{
    struct round *round = arg;
    enum phase phase = PHASE_RUNNING;
    for (struct process *p = round->supervisor->processes; p; p = p->next) {
        if (p->main_ended && waits_for(p, stray) && p->phase > phase)
            phase = p->phase;
    }
    if (phase == PHASE_KILLED) {
        /* A root is left to the search: what it is the parent of could not be found without it. */
        if (round->roots) {
            round->roots[round->n_killed] = stray->pid;
            stray->searched = true;
        } else if (!stray->searched) {
            child_signal(stray->pid, SIGKILL, &round->group);
        }
        round->n_killed++;
    } else if (phase == PHASE_ASKED && !stray->asked) {
        kill(stray->pid, SIGTERM);
        kill(stray->pid, SIGCONT); /* one that is stopped would not notice */
        stray->asked = true;
    }
}

/* --- searching all of /proc, on a worker --------------------------------------------------------- */

static void search_run(struct work *work)
{
    struct search *search = (struct search *)((char *)work - offsetof(struct search, work));
    struct err ignored;
    search->found = tree_kill(&search->query, clock_monotonic_ms() + SEARCH_WAIT_MS, &ignored);
}

static void end_searched(struct child *stray, void *arg)
{
    (void)arg;
    stray->searched = false;
}

/* After a search that was of no use, the strays are killed without it for a while. */
static void search_end(struct search *search, bool of_use)
{
    struct supervisor *supervisor = search->supervisor;
    free(search->roots);
    supervisor->searching = false;
    supervisor->kill_turns = of_use ? supervisor->kill_turns : 0;
    children_each_stray(&supervisor->children, end_searched, NULL);
}

static void search_done(struct work *work)
{
    struct search *search = (struct search *)((char *)work - offsetof(struct search, work));
    search_end(search, search->found > 0);
    supervisor_turn(search->supervisor);
}

/* Takes the roots. */
static void search_start(struct supervisor *supervisor, pid_t *roots, size_t n)
{
    struct search *search = &supervisor->search;
    struct err ignored;
    *search = (struct search){
        .work = {.run = search_run, .done = search_done},
        .supervisor = supervisor,
        .query = {.roots = roots, .n_roots = n, .before = proc_now()},
        .roots = roots,
    };
    supervisor->searching = true;
    if (FAULT("process.search") || worker_submit(supervisor->pool, &search->work, &ignored) < 0)
        search_end(search, false);
}

void strays_signal(struct supervisor *supervisor, uint64_t now)
{
    bool search = supervisor->kill_turns >= SEARCH_AFTER && !supervisor->searching;
    struct round round = {.supervisor = supervisor};
    if (search)
        round.roots = calloc(supervisor->children.strays, sizeof *round.roots);
    children_each_stray(&supervisor->children, signal_stray, &round);
    if (round.n_killed == 0) {
        supervisor->kill_turns = 0;
        free(round.roots);
        return;
    }
    uint64_t pause = supervisor->kill_turns < 7 ? RETRY_FIRST_MS << supervisor->kill_turns : RETRY_LAST_MS;
    supervisor->kill_turns++;
    supervisor->turn_at = now + pause < supervisor->turn_at ? now + pause : supervisor->turn_at;
    if (round.roots)
        search_start(supervisor, round.roots, round.n_killed);
}
