/* Starts one child by vfork.
 *
 * The child runs on the parent's memory and stack while the parent's thread stands still, until execve. So it
 * only makes system calls, looks at nothing that another thread may be changing, and writes nothing but its
 * own stack. All signals are blocked around it: a handler of the host must never run in the child. User and
 * group change by raw system calls: glibc's wrappers would signal the host's threads. A failed step comes
 * back as {step, errno} through a close-on-exec pipe (and not through the shared memory: under valgrind, qemu
 * and TSan vfork is fork). */
#include "process/spawn.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"

/* Linux 5.11, later than the libc headers of some distributions. */
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif
#define KERNEL_SIGNALS 64
#define DESCRIPTORS_MAX 65536

/* The steps of the child, in their order. X(symbol, name in messages and fault points, error code) */
#define STEPS(X)                                                                                             \
    X(STEP_SESSION, "setsid", ERR_PROCESS_SESSION)                                                           \
    X(STEP_CGROUP, "cgroup", ERR_PROCESS_CGROUP)                                                             \
    X(STEP_CHDIR, "chdir", ERR_PROCESS_CHDIR)                                                                \
    X(STEP_OUTPUT, "output", ERR_PROCESS_OUTPUT)                                                             \
    X(STEP_SETRLIMIT, "setrlimit", ERR_PROCESS_SETRLIMIT)                                                    \
    X(STEP_USER, "user", ERR_PROCESS_USER)                                                                   \
    X(STEP_PRCTL, "prctl", ERR_PROCESS_PRCTL)                                                                \
    X(STEP_EXEC, "exec", ERR_PROCESS_EXEC)

enum step {
#define X(symbol, name, code) symbol,
    STEPS(X)
#undef X
        STEP_NONE
};
static const struct {
    const char *name;
    enum err_code code;
} steps[] = {
#define X(symbol, name, code) {name, code},
    STEPS(X)
#undef X
};

static const struct {
    const char *name;
    int resource;
} limits[] = {
    {"as", RLIMIT_AS},           {"core", RLIMIT_CORE},         {"cpu", RLIMIT_CPU},
    {"data", RLIMIT_DATA},       {"fsize", RLIMIT_FSIZE},       {"locks", RLIMIT_LOCKS},
    {"memlock", RLIMIT_MEMLOCK}, {"msgqueue", RLIMIT_MSGQUEUE}, {"nice", RLIMIT_NICE},
    {"nofile", RLIMIT_NOFILE},   {"nproc", RLIMIT_NPROC},       {"rss", RLIMIT_RSS},
    {"rtprio", RLIMIT_RTPRIO},   {"rttime", RLIMIT_RTTIME},     {"sigpending", RLIMIT_SIGPENDING},
    {"stack", RLIMIT_STACK},
};

int process_limit_find(const char *name)
{
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        if (strcmp(limits[i].name, name) == 0)
            return limits[i].resource;
    }
    return -1;
}

static const char *limit_name(int resource)
{
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        if (limits[i].resource == resource)
            return limits[i].name;
    }
    return "unknown";
}

/* What the child tells when it can not go on. */
struct failure {
    enum step step;
    int sys, resource; /* resource: with STEP_SETRLIMIT */
};

/* All that the child needs, made ready by the parent. */
struct plan {
    const struct spawn *spawn;
    int stdin_fd, out_fd, failure_fd, descriptors;
    pid_t host;
    enum step fault; /* the step at which a test makes the child fail */
};

__attribute__((noreturn)) static void child_fail(const struct plan *plan, enum step step, int resource)
{
    struct failure failure = {step, errno, resource};
    ssize_t ignored = write(plan->failure_fd, &failure, sizeof failure);
    (void)ignored; /* the parent then sees an end without exec; there is nobody else to tell */
    _exit(127);
}

/* Handlers go with exec, but what the host ignores stays ignored, and a handler must not run before exec. */
static void child_reset_signals(void)
{
    static const unsigned long
        default_action[8]; /* struct kernel_sigaction, all zero: SIG_DFL, of any machine */
    for (int signal = 1; signal <= KERNEL_SIGNALS; signal++)
        syscall(SYS_rt_sigaction, signal, default_action, NULL, KERNEL_SIGNALS / 8);
}

static int child_redirect(const struct plan *plan)
{
    int in = plan->stdin_fd, out = plan->out_fd;
    if (out < 3 && (out = fcntl(out, F_DUPFD_CLOEXEC, 3)) < 0) /* before it is overwritten */
        return -1;
    if (in == 0 ? fcntl(0, F_SETFD, 0) < 0 : dup2(in, 0) < 0)
        return -1;
    return dup2(out, 1) < 0 || dup2(out, 2) < 0 ? -1 : 0;
}

static int child_change_user(const struct spawn *spawn)
{
    if (spawn->gid != (gid_t)-1 && (syscall(SYS_setgroups, 0, NULL) < 0 ||
                                    syscall(SYS_setresgid, spawn->gid, spawn->gid, spawn->gid) < 0))
        return -1;
    return spawn->uid == (uid_t)-1 ? 0 : (int)syscall(SYS_setresuid, spawn->uid, spawn->uid, spawn->uid);
}

/* After the change of user, which would clear the death signal. The host may have died before it was set. */
static int child_tie_to_host(const struct plan *plan)
{
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return -1;
    return getppid() == plan->host ? 0 : (errno = ESRCH, -1);
}

static void child_hide_descriptors(const struct plan *plan)
{
    if (syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
        return;
    for (int fd = 3; fd < plan->descriptors; fd++) /* a kernel before 5.11 */
        fcntl(fd, F_SETFD, FD_CLOEXEC);
}

#define STEP(step, call)                                                                                     \
    do {                                                                                                     \
        if ((plan->fault == (step) ? (errno = EIO, -1) : (call)) < 0)                                        \
            child_fail(plan, (step), -1);                                                                    \
    } while (0)

static void child_set_limits(const struct plan *plan)
{
    STEP(STEP_SETRLIMIT, 0);
    for (size_t i = 0; i < plan->spawn->n_limits; i++) {
        const struct process_limit *limit = &plan->spawn->limits[i];
        struct rlimit value = {.rlim_cur = limit->soft, .rlim_max = limit->hard};
        if (prlimit(0, limit->resource, &value, NULL) < 0)
            child_fail(plan, STEP_SETRLIMIT, limit->resource);
    }
}

__attribute__((noreturn, noinline, no_sanitize("address", "undefined"))) static void
child_run(const struct plan *plan)
{
    const struct spawn *spawn = plan->spawn;
    sigset_t none;
    child_reset_signals();
    STEP(STEP_SESSION, setsid());
    STEP(STEP_CGROUP, spawn->cgroup_procs_fd < 0 ? 0 : write(spawn->cgroup_procs_fd, "0", 1));
    STEP(STEP_CHDIR, spawn->dir_fd == AT_FDCWD ? 0 : fchdir(spawn->dir_fd));
    STEP(STEP_OUTPUT, child_redirect(plan));
    child_set_limits(plan);
    STEP(STEP_USER, child_change_user(spawn));
    STEP(STEP_PRCTL, child_tie_to_host(plan));
    child_hide_descriptors(plan);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    STEP(STEP_EXEC, execve(spawn->path, spawn->argv, spawn->envp));
    _exit(127);
}

/* Nothing but vfork and the call that never returns: the child shares this frame with the parent. */
__attribute__((noinline)) static pid_t vfork_child(const struct plan *plan)
{
    pid_t pid = FAULT("process.vfork") ? (errno = EAGAIN, -1) : vfork();
    if (pid == 0)
        child_run(plan);
    return pid;
}

static pid_t vfork_blocked(const struct plan *plan)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = vfork_child(plan);
    int sys = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = sys;
    return pid;
}

static enum step injected_fault(void)
{
#define X(symbol, name, code)                                                                                \
    if (FAULT("process.child." name))                                                                        \
        return symbol;
    STEPS(X)
#undef X
    return STEP_NONE;
}

/* The errno of exec says "no such file" also for a script whose interpreter is missing. */
static const char *explain(const struct spawn *spawn, const struct failure *failure)
{
    if (failure->step == STEP_EXEC && failure->sys == ENOENT &&
        faccessat(spawn->dir_fd, spawn->path, F_OK, 0) == 0)
        return "the interpreter or loader that it names does not exist";
    if (failure->step == STEP_PRCTL && failure->sys == ESRCH)
        return "the host has ended";
    return strerror(failure->sys);
}

static int report(const struct spawn *spawn, const struct failure *failure, struct err *err)
{
    if ((unsigned)failure->step >= STEP_NONE)
        return err_set(err, ERR_PROCESS_SPAWN, "%s: the child ended before exec", spawn->path);
    const char *resource =
        failure->step == STEP_SETRLIMIT && failure->resource >= 0 ? limit_name(failure->resource) : "";
    err_set(err, steps[failure->step].code, "%s: %s%s%s: %s", spawn->path, steps[failure->step].name,
            *resource ? " " : "", resource, explain(spawn, failure));
    if (err)
        err->sys = failure->sys;
    return -1;
}

/* The write ends are closed: by exec, by the child's end, by us. So this never waits for long. */
static ssize_t read_failure(int fd, struct failure *failure)
{
    ssize_t size;
    do
        size = read(fd, failure, sizeof *failure);
    while (size < 0 && errno == EINTR);
    return size;
}

pid_t spawn_child(const struct spawn *spawn, int null_fd, struct err *err)
{
    int ends[2];
    if (FAULT("process.pipe") ? (errno = EMFILE, true) : pipe2(ends, O_CLOEXEC) < 0) {
        err_set(err, ERR_PROCESS_SPAWN, "%s: pipe: %s", spawn->path, strerror(errno));
        return -1;
    }
    struct rlimit files = {.rlim_cur = DESCRIPTORS_MAX};
    getrlimit(RLIMIT_NOFILE, &files);
    struct plan plan = {
        .spawn = spawn,
        .stdin_fd = spawn->stdin_fd < 0 ? null_fd : spawn->stdin_fd,
        .out_fd = spawn->out_fd < 0 ? null_fd : spawn->out_fd,
        .failure_fd = ends[1],
        .descriptors = files.rlim_cur < DESCRIPTORS_MAX ? (int)files.rlim_cur : DESCRIPTORS_MAX,
        .host = getpid(),
        .fault = injected_fault(),
    };
    pid_t pid = vfork_blocked(&plan);
    int sys = errno;
    close(ends[1]);
    struct failure failure = {.step = STEP_NONE};
    if (pid < 0) {
        err_set(err, ERR_PROCESS_SPAWN, "%s: vfork: %s", spawn->path, strerror(sys));
    } else if (read_failure(ends[0], &failure) != 0) {
        kill(pid, SIGKILL); /* it is ending, or could not be heard */
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        pid = report(spawn, &failure, err);
    }
    close(ends[0]);
    return pid;
}
