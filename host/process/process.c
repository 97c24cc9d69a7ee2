/* The supervisor: reaps, notices what outlives its main process, stops trees, and says when they are empty.
 *
 * Everything happens in `turn`, which runs after SIGCHLD, when a time is up, and when a search has come back:
 * reap what has ended; list the host's children; what is not known among them is a stray; signal the strays
 * as far as their processes have got (asked, killed); report the processes of which nothing is left.
 *
 * Killing goes level by level: a stray that dies hands its children to the host, which finds them in the next
 * turn. Trees that are deep, or grow meanwhile, are also searched in /proc and stopped as a whole, by a
 * worker (tree.c). */
#include "process/process.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/worker.h"
#include "process/children.h"
#include "process/proc.h"
#include "process/spawn.h"
#include "process/tree.h"

#define REAP_MAX 1000    /* children reaped in one turn: others of the loop wait no longer than that takes */
#define RETRY_FIRST_MS 2 /* between two looks at killed strays that did not end yet; doubles */
#define RETRY_LAST_MS 200
#define SEARCH_AFTER 2     /* turns with killed strays until /proc is searched too */
#define SEARCH_WAIT_MS 100 /* how long a search waits for what it killed */
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
    struct proc_pids pids; /* kept to spare the allocation */
    struct search search;
    bool searching;
    unsigned kill_turns; /* turns in a row with a killed stray that still lives */
    uint64_t turn_at;    /* when to look again although nothing happened */
};

static uint64_t add_ms(uint64_t a, uint64_t b)
{
    return b > NEVER - a ? NEVER : a + b;
}

/* --- reaping
 * ---------------------------------------------------------------------------------------------------- */

static void add_usage(struct rusage *sum, const struct rusage *more)
{
    timeradd(&sum->ru_utime, &more->ru_utime, &sum->ru_utime);
    timeradd(&sum->ru_stime, &more->ru_stime, &sum->ru_stime);
    sum->ru_maxrss = more->ru_maxrss > sum->ru_maxrss ? more->ru_maxrss : sum->ru_maxrss;
    sum->ru_minflt += more->ru_minflt;
    sum->ru_majflt += more->ru_majflt;
    sum->ru_inblock += more->ru_inblock;
    sum->ru_oublock += more->ru_oublock;
    sum->ru_nvcsw += more->ru_nvcsw;
    sum->ru_nivcsw += more->ru_nivcsw;
}

static void main_ended(struct process *process, int status)
{
    process->main_ended = true;
    process->ended = clock_monotonic_ms();
    process->end.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    process->end.signal = WIFSIGNALED(status) ? WTERMSIG(status) : -1;
    process->supervisor->n_ended++;
}

static void reap(struct supervisor *supervisor)
{
    for (int n = 0; n < REAP_MAX; n++) {
        int status;
        struct rusage usage;
        pid_t pid = wait4(-1, &status, WNOHANG | __WALL, &usage);
        if (pid <= 0)
            return;
        struct child *child = children_find(&supervisor->children, pid);
        if (!child)
            continue; /* an orphan that ended before anybody looked */
        children_remove(&supervisor->children, child);
        if (child->owner)
            add_usage(&child->owner->end.usage, &usage);
        if (child->main)
            main_ended(child->owner, status);
        else
            free(child);
    }
    supervisor->turn_at = 0;
}

/* --- strays
 * ----------------------------------------------------------------------------------------------------- */

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

/* -1: the list may be incomplete, so nothing is proven by it. */
static int find_strays(struct supervisor *supervisor)
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

struct round {
    struct supervisor *supervisor;
    pid_t group;  /* see child_signal */
    pid_t *roots; /* when a search begins: the strays that are to be killed; NULL otherwise */
    size_t n_killed;
};

static void count_stray(struct child *stray, void *arg)
{
    struct round *round = arg;
    for (struct process *p = round->supervisor->processes; p; p = p->next)
        p->left += p->main_ended && waits_for(p, stray);
}

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

/* --- searching all of /proc, on a worker
 * ------------------------------------------------------------------------ */

static void turn(struct supervisor *supervisor);

static void search_run(struct work *work)
{
    struct search *search = (struct search *)((char *)work - offsetof(struct search, work));
    struct err ignored; /* the next turn tries again */
    tree_kill(&search->query, clock_monotonic_ms() + SEARCH_WAIT_MS, &ignored);
}

static void end_searched(struct child *stray, void *arg)
{
    (void)arg;
    stray->searched = false;
}

static void search_end(struct search *search)
{
    free(search->roots);
    search->supervisor->searching = false;
    children_each_stray(&search->supervisor->children, end_searched, NULL);
}

static void search_done(struct work *work)
{
    struct search *search = (struct search *)((char *)work - offsetof(struct search, work));
    search_end(search);
    turn(search->supervisor);
}

/* Takes the roots. A search that can not start is tried again in a later turn. */
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
        search_end(search);
}

/* --- a turn
 * ----------------------------------------------------------------------------------------------------- */

static void kill_now(struct process *process)
{
    process->phase = PHASE_KILLED;
    process->kill_at = NEVER;
    process->end.killed = true;
    if (!process->main_ended)
        kill(-process->main.pid, SIGKILL);
}

/* The main process has ended by itself and something is left of it. */
static void ask_strays(struct process *process, uint64_t now)
{
    process->phase = PHASE_ASKED;
    process->kill_at = add_ms(now, process->grace_ms);
    if (process->kill_at <= now)
        kill_now(process);
}

static void signal_strays(struct supervisor *supervisor, uint64_t now)
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

/* Unlinks the processes of which nothing is left, and returns them. While a search runs, those that were
 * killed stay: its roots must be theirs. */
static struct process *take_finished(struct supervisor *supervisor)
{
    struct process *finished = NULL;
    for (struct process **link = &supervisor->processes, *p; (p = *link);) {
        if (!p->main_ended || p->left > 0 || (p->phase == PHASE_KILLED && supervisor->searching)) {
            link = &p->next;
            continue;
        }
        *link = p->next;
        p->finished = true;
        p->next = finished;
        finished = p;
        supervisor->n_processes--;
        supervisor->n_ended--;
    }
    if (supervisor->n_processes == 0)
        uv_unref((uv_handle_t *)&supervisor->sigchld);
    return finished;
}

static struct process *look_at_ended(struct supervisor *supervisor, uint64_t now)
{
    if (find_strays(supervisor) < 0) {
        supervisor->turn_at = now + RETRY_LAST_MS;
        return NULL;
    }
    struct round round = {.supervisor = supervisor};
    for (struct process *p = supervisor->processes; p; p = p->next)
        p->left = 0;
    children_each_stray(&supervisor->children, count_stray, &round);
    for (struct process *p = supervisor->processes; p; p = p->next) {
        if (p->left > 0 && p->phase == PHASE_RUNNING)
            ask_strays(p, now);
    }
    signal_strays(supervisor, now);
    return take_finished(supervisor);
}

static void process_free(struct process *process)
{
    free(process->mark);
    free(process);
}

static void report(struct process *process)
{
    uint64_t now = clock_monotonic_ms();
    process->end.ended_ms = process->end.started_ms + (int64_t)(process->ended - process->started);
    process->end.emptied_ms = process->end.started_ms + (int64_t)(now - process->started);
    process->on_end(process, &process->end, process->arg);
    process_free(process);
}

static void on_timer(uv_timer_t *timer)
{
    turn(timer->data);
}

static void arm_timer(struct supervisor *supervisor)
{
    uint64_t now = clock_monotonic_ms(), at = supervisor->turn_at;
    for (struct process *p = supervisor->processes; p; p = p->next)
        at = p->phase == PHASE_ASKED && p->kill_at < at ? p->kill_at : at;
    if (at == NEVER)
        uv_timer_stop(&supervisor->timer);
    else
        uv_timer_start(&supervisor->timer, on_timer, at > now ? at - now : 0, 0);
}

static void turn(struct supervisor *supervisor)
{
    uint64_t now = clock_monotonic_ms();
    struct process *finished = NULL;
    supervisor->turn_at = NEVER;
    reap(supervisor);
    for (struct process *p = supervisor->processes; p; p = p->next) {
        if (p->phase == PHASE_ASKED && p->kill_at <= now)
            kill_now(p);
    }
    if (supervisor->n_ended > 0)
        finished = look_at_ended(supervisor, now);
    arm_timer(supervisor);
    /* Last: what they call may start and stop others. */
    while (finished) {
        struct process *process = finished;
        finished = process->next;
        report(process);
    }
}

/* --- the interface
 * ---------------------------------------------------------------------------------------------- */

static void on_sigchld(uv_signal_t *handle, int signal)
{
    (void)signal;
    turn(handle->data);
}

/* Never one of the three standard descriptors, which the child replaces: if the host was started without
 * them, they are filled. */
static int open_null(void)
{
    int fd;
    do
        fd = FAULT("process.null") ? (errno = EMFILE, -1) : open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd < 3);
    return fd;
}

static void on_closed(uv_handle_t *handle)
{
    struct supervisor *supervisor = handle->data;
    if (--supervisor->open_handles == 0)
        free(supervisor);
}

static bool exists; /* two would take each other's children away */

/* Frees the supervisor, when the loop has closed its handles. */
static void close_all(struct supervisor *supervisor)
{
    exists = false;
    close(supervisor->null_fd);
    if (supervisor->sigchld.data)
        uv_close((uv_handle_t *)&supervisor->sigchld, on_closed);
    uv_close((uv_handle_t *)&supervisor->timer, on_closed);
}

static int watch_children(struct supervisor *supervisor, uv_loop_t *loop, struct err *err)
{
    int status = uv_signal_init(loop, &supervisor->sigchld);
    if (status == 0) {
        supervisor->open_handles++;
        supervisor->sigchld.data = supervisor;
        status =
            FAULT("process.sigchld") ? UV_EINVAL : uv_signal_start(&supervisor->sigchld, on_sigchld, SIGCHLD);
    }
    if (status < 0)
        return err_set(err, ERR_PROCESS_SPAWN, "waiting for children: %s", uv_strerror(status));
    uv_unref((uv_handle_t *)&supervisor->sigchld); /* while there is no process */
    return 0;
}

/* All proofs rest on it, so a sandbox that only says yes is not believed. */
static int become_subreaper(void)
{
    int is_one = 1;
    if (FAULT("process.subreaper") ? (errno = EINVAL, true) : prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        return -1;
    prctl(PR_GET_CHILD_SUBREAPER, &is_one, 0, 0, 0);
    return is_one ? 0 : (errno = ENOSYS, -1);
}

struct supervisor *supervisor_create(uv_loop_t *loop, struct worker_pool *pool, struct err *err)
{
    assert(!exists);
    struct supervisor *supervisor = calloc(1, sizeof *supervisor);
    if (!supervisor) {
        err_set(err, ERR_NO_MEMORY, "supervisor: out of memory");
        return NULL;
    }
    supervisor->pool = pool;
    supervisor->turn_at = NEVER;
    supervisor->null_fd = open_null();
    if (supervisor->null_fd < 0) {
        err_set_file(err, errno, "/dev/null");
        free(supervisor);
        return NULL;
    }
    exists = true;
    uv_timer_init(loop, &supervisor->timer); /* can not fail */
    supervisor->timer.data = supervisor;
    supervisor->open_handles = 1;
    if (become_subreaper() < 0) {
        err_set(err, ERR_PROCESS_PRCTL, "becoming a subreaper: %s", strerror(errno));
    } else if (watch_children(supervisor, loop, err) == 0) {
        return supervisor;
    }
    close_all(supervisor);
    return NULL;
}

size_t supervisor_count(const struct supervisor *supervisor)
{
    return supervisor->n_processes;
}

void supervisor_destroy(struct supervisor *supervisor)
{
    assert(supervisor->n_processes == 0 && !supervisor->searching);
    children_free_strays(&supervisor->children);
    proc_pids_free(&supervisor->pids);
    close_all(supervisor);
}

static const char *find_mark(char *const *envp)
{
    for (; *envp; envp++) {
        if (strncmp(*envp, PROCESS_MARK_ATTEMPT "=", sizeof PROCESS_MARK_ATTEMPT) == 0)
            return *envp;
    }
    return NULL;
}

struct process *process_spawn(struct supervisor *supervisor, const struct spawn *spawn, struct err *err)
{
    const char *mark = find_mark(spawn->envp);
    struct process *process = FAULT("process.memory") ? NULL : calloc(1, sizeof *process);
    if (!process || (mark && !(process->mark = strdup(mark)))) {
        free(process);
        err_set(err, ERR_NO_MEMORY, "%s: out of memory", spawn->path);
        return NULL;
    }
    process->supervisor = supervisor;
    process->grace_ms = spawn->grace_ms;
    process->kill_at = NEVER;
    process->started = clock_monotonic_ms();
    process->end.started_ms = clock_wall_ms();
    process->on_end = spawn->on_end;
    process->arg = spawn->arg;
    process->main = (struct child){.start = proc_now(), .owner = process, .main = true};
    process->main.pid = spawn_child(spawn, supervisor->null_fd, err);
    if (process->main.pid < 0) {
        process_free(process);
        return NULL;
    }
    children_add(&supervisor->children, &process->main);
    process->next = supervisor->processes;
    supervisor->processes = process;
    supervisor->n_processes++;
    uv_ref((uv_handle_t *)&supervisor->sigchld);
    return process;
}

pid_t process_pid(const struct process *process)
{
    return process->main.pid;
}

void process_stop(struct process *process, uint64_t grace_ms)
{
    struct supervisor *supervisor = process->supervisor;
    uint64_t at = add_ms(clock_monotonic_ms(), grace_ms);
    if (process->finished || process->phase == PHASE_KILLED)
        return;
    process->end.stopped |= !process->main_ended;
    if (process->phase == PHASE_RUNNING && grace_ms > 0 && !process->main_ended) {
        kill(-process->main.pid, SIGTERM);
        kill(-process->main.pid, SIGCONT); /* one that is stopped would not notice */
    }
    process->phase = PHASE_ASKED;
    process->kill_at = at < process->kill_at ? at : process->kill_at;
    if (grace_ms == 0)
        kill_now(process);
    if (process->main_ended)
        supervisor->turn_at = 0;
    arm_timer(supervisor);
}
