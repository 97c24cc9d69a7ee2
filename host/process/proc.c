/* What /proc tells about processes: one stat line, one environment, all numbers, our own children. */
#include "process/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"

int proc_open(pid_t pid)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/%d", (int)pid);
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* The name is in parentheses and may hold anything, also ") ": the last one closes it. */
bool proc_parse_stat(const char *text, struct proc_stat *out)
{
    int pid, parent;
    char state;
    unsigned long long start;
    const char *name_end = strrchr(text, ')');
    if (!name_end || sscanf(text, "%d", &pid) != 1)
        return false;
    /* fields 3 state, 4 ppid, then 5 to 21, then 22 starttime */
    if (sscanf(name_end + 1,
               " %c %d %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu", &state,
               &parent, &start) != 3)
        return false;
    *out = (struct proc_stat){.pid = pid, .parent = parent, .state = state, .start = start};
    return true;
}

bool proc_read_stat(int handle, struct proc_stat *out)
{
    char text[1024];
    int fd = openat(handle, "stat", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    if (size <= 0)
        return false;
    text[size] = '\0';
    return proc_parse_stat(text, out);
}

int proc_signal(int handle, const struct proc_stat *stat, int signal)
{
    if (syscall(SYS_pidfd_send_signal, handle, signal, NULL, 0) == 0)
        return 0;
    if (errno != ENOSYS && errno != EBADF)
        return -1;
    /* A kernel without pidfds, or a sandbox: the handle still answers for the process a moment ago, and
     * numbers are handed out in a circle, so a reuse since then would need all of them. */
    struct proc_stat again;
    if (!proc_read_stat(handle, &again) || again.start != stat->start)
        return errno = ESRCH, -1;
    return kill(stat->pid, signal);
}

/* Compares entry by entry over a window that slides; the rest of an entry longer than the window is skipped.
 */
bool proc_environment_holds(int handle, const char *entry)
{
    char window[4096];
    size_t wanted = strlen(entry) + 1, have = 0; /* with its NUL */
    bool found = false, at_start = true;
    int fd = wanted > sizeof window ? -1 : openat(handle, "environ", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    for (;;) {
        ssize_t size = read(fd, window + have, sizeof window - have);
        if (size <= 0)
            break;
        have += (size_t)size;
        size_t from = 0;
        for (char *nul; !found && (nul = memchr(window + from, '\0', have - from));) {
            size_t length = (size_t)(nul - (window + from)) + 1;
            found = at_start && length == wanted && memcmp(window + from, entry, wanted) == 0;
            from += length;
            at_start = true;
        }
        if (found)
            break;
        if (from == 0 && have == sizeof window) { /* a long entry, certainly not ours */
            at_start = false;
            from = have;
        }
        memmove(window, window + from, have - from);
        have -= from;
    }
    close(fd);
    return found;
}

void proc_pids_free(struct proc_pids *pids)
{
    free(pids->items);
    *pids = (struct proc_pids){0};
}

static int add_pid(struct proc_pids *pids, pid_t pid, struct err *err)
{
    if (pids->n == pids->capacity) {
        size_t capacity = pids->capacity ? pids->capacity * 2 : 64;
        pid_t *items = realloc(pids->items, capacity * sizeof *items);
        if (!items)
            return err_set(err, ERR_NO_MEMORY, "listing processes: out of memory");
        pids->items = items;
        pids->capacity = capacity;
    }
    pids->items[pids->n++] = pid;
    return 0;
}

int proc_list(struct proc_pids *pids, struct err *err)
{
    pids->n = 0;
    DIR *dir = FAULT("process.list") ? (errno = EIO, NULL) : opendir("/proc");
    if (!dir)
        return err_set_file(err, errno, "/proc");
    int status = 0;
    for (struct dirent *entry; status == 0 && (entry = readdir(dir));) {
        char *end;
        long pid = strtol(entry->d_name, &end, 10);
        if (pid > 0 && *end == '\0')
            status = add_pid(pids, (pid_t)pid, err);
    }
    closedir(dir);
    return status;
}

/* Numbers with a space after each; they may be torn between two reads. */
static int read_children(const char *path, struct proc_pids *pids, struct err *err)
{
    int fd = FAULT("process.children") ? (errno = EIO, -1) : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_file(err, errno, "%s", path);
    char text[4096];
    pid_t pid = 0;
    int status = 0;
    ssize_t size;
    while (status == 0 && (size = read(fd, text, sizeof text)) != 0) {
        if (size < 0) {
            status = err_set_file(err, errno, "%s", path);
            break;
        }
        for (ssize_t i = 0; status == 0 && i < size; i++) {
            if (text[i] >= '0' && text[i] <= '9') {
                pid = pid * 10 + (text[i] - '0');
            } else if (pid > 0) {
                status = add_pid(pids, pid, err);
                pid = 0;
            }
        }
    }
    close(fd);
    return status;
}

/* For kernels without /proc/PID/task/TID/children (CONFIG_PROC_CHILDREN): looks at every process. */
static int filter_children(struct proc_pids *pids, struct err *err)
{
    if (proc_list(pids, err) < 0)
        return -1;
    size_t kept = 0;
    for (size_t i = 0; i < pids->n; i++) {
        struct proc_stat stat;
        int handle = proc_open(pids->items[i]);
        if (handle < 0)
            continue;
        if (proc_read_stat(handle, &stat) && stat.parent == getpid())
            pids->items[kept++] = stat.pid;
        close(handle);
    }
    pids->n = kept;
    return 0;
}

int proc_children(struct proc_pids *pids, struct err *err)
{
    char path[64];
    pid_t process = getpid(), thread = (pid_t)syscall(SYS_gettid);
    pids->n = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)process);
    int status = read_children(path, pids, err);
    if (status == 0 && thread != process) {
        snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)thread);
        status = read_children(path, pids, err);
    }
    if (status < 0 && err->code == ERR_FILE_NOT_FOUND)
        return filter_children(pids, err);
    return status;
}

uint64_t proc_now(void)
{
    struct timespec now;
    uint64_t ticks = (uint64_t)sysconf(_SC_CLK_TCK);
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * ticks + (uint64_t)now.tv_nsec * ticks / 1000000000u;
}
