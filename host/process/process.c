/* The supervisor: reaps, stops what is to be stopped, and says when trees are empty.
 *
 * Everything happens in supervisor_turn, which runs after SIGCHLD, when a time is up, and when a search has
 * come back: reap what has ended; list the host's children; what is not known among them is a stray; signal
 * the strays as far as their processes have got (asked, killed); report the processes of which nothing is
 * left. What is done about strays is in strays.c. */
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
#include "process/proc.h"
#include "process/spawn.h"
#include "process/supervisor.h"

#define REAP_MAX 1000 /* children reaped in one turn: others of the loop wait no longer than that takes */
#define RETRY_MS 200  /* until children are listed again when that has failed */

static uint64_t add_ms(uint64_t a, uint64_t b)
{
    return b > NEVER - a ? NEVER : a + b;
}

/* --- reaping ------------------------------------------------------------------------------------- */

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
        supervisor->childless = pid < 0 && errno == ECHILD;
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

/* --- a turn -------------------------------------------------------------------------------------- */

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
    /* Without any child there is nothing to look for: the shortest of all proofs, and the usual one. */
    if (!supervisor->childless && strays_find(supervisor) < 0) {
        supervisor->turn_at = now + RETRY_MS;
        return NULL;
    }
    strays_count(supervisor);
    for (struct process *p = supervisor->processes; p; p = p->next) {
        if (p->left > 0 && p->phase == PHASE_RUNNING)
            ask_strays(p, now);
    }
    strays_signal(supervisor, now);
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
    supervisor_turn(timer->data);
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

void supervisor_turn(struct supervisor *supervisor)
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

/* --- the interface ------------------------------------------------------------------------------- */

static void on_sigchld(uv_signal_t *handle, int signal)
{
    (void)signal;
    supervisor_turn(handle->data);
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
