/* Stands in for two calls of libc in tests that are cross-built and run under qemu-user, which lacks them.
 *
 * prctl(PR_SET_CHILD_SUBREAPER) is unknown to it and fails: here it succeeds. The flag itself is set from
 * outside: it survives execve, so suites.py sets it on the process that becomes qemu. Jobs do without: their
 * orphans come to the host. execve of our own program is refused by a kernel that does not know the machine:
 * here qemu is started with it. QEMU and QEMU_SYSROOT are defined by the build. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARGUMENTS_MAX 64

int prctl(int option, ...)
{
    va_list list;
    unsigned long arguments[4];
    if (option == PR_SET_CHILD_SUBREAPER)
        return 0;
    va_start(list, option);
    for (int i = 0; i < 4; i++)
        arguments[i] = va_arg(list, unsigned long);
    va_end(list);
    return (int)syscall(SYS_prctl, option, arguments[0], arguments[1], arguments[2], arguments[3]);
}

static int is_program(const char *path)
{
    char magic[4] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, magic, sizeof magic);
    if (fd >= 0)
        close(fd);
    return size == sizeof magic && memcmp(magic, "\177ELF", sizeof magic) == 0;
}

int execve(const char *path, char *const argv[], char *const envp[])
{
    char resolved[PATH_MAX] = "";
    const char *with_qemu[ARGUMENTS_MAX] = {QEMU, "-L", QEMU_SYSROOT, "-0", argv[0], resolved};
    syscall(SYS_execve, path, argv, envp);
    if (errno != ENOEXEC || !is_program(path))
        return -1;
    /* What /proc/self/exe means changes with exec. */
    if (readlink(path, resolved, sizeof resolved - 1) < 0)
        strncpy(resolved, path, sizeof resolved - 1);
    for (size_t to = 6, from = 1; argv[from]; to++, from++) {
        if (to == ARGUMENTS_MAX - 1)
            return (errno = E2BIG, -1);
        with_qemu[to] = argv[from];
    }
    return (int)syscall(SYS_execve, QEMU, with_qemu, envp);
}
