/* The system calls of this folder that fail in real life, each behind a fault point.
 *
 * As the calls themselves: -1 and errno; open and openat always add O_CLOEXEC, and a call is repeated after
 * EINTR. */
#ifndef MOONRUNNER_FILE_CALLS_H
#define MOONRUNNER_FILE_CALLS_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"

#define CALL(point, sys, call) (FAULT(point) ? (errno = (sys), -1) : (call))

static inline int call_openat(int dir_fd, const char *name, int flags, mode_t mode)
{
    int fd;
    do
        fd = CALL("file.open", EIO, openat(dir_fd, name, flags | O_CLOEXEC, mode));
    while (fd == -1 && errno == EINTR);
    return fd;
}

static inline int call_fstatat(int dir_fd, const char *name, struct stat *st)
{
    return CALL("file.stat", EIO, fstatat(dir_fd, name, st, AT_SYMLINK_NOFOLLOW));
}

static inline int call_fstat(int fd, struct stat *st)
{
    return CALL("file.stat", EIO, fstat(fd, st));
}

static inline ssize_t call_pread(int fd, void *out, size_t size, off_t offset)
{
    ssize_t got;
    do
        got = CALL("file.read", EIO, pread(fd, out, size, offset));
    while (got == -1 && errno == EINTR);
    return got;
}

/* Writes all of it, or says why not (a write that takes nothing is a full disk). */
static inline int call_write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t put = CALL("file.write", ENOSPC, write(fd, data, size));
        if (put == -1 && errno == EINTR)
            continue;
        if (put == 0)
            errno = ENOSPC;
        if (put <= 0)
            return -1;
        data += put;
        size -= (size_t)put;
    }
    return 0;
}

/* Always closes. For files that were written: some file systems tell about a full disk only here. */
static inline int call_close_written(int fd)
{
    int failed = close(fd) == -1 && errno != EINTR;
    return CALL("file.close", ENOSPC, failed ? -1 : 0);
}

static inline int call_renameat2(int dir_fd, const char *name, int to_fd, const char *to_name, unsigned flags)
{
    return CALL("file.rename", EIO, renameat2(dir_fd, name, to_fd, to_name, flags));
}

static inline int call_linkat(int dir_fd, const char *name, int to_fd, const char *to_name)
{
    return CALL("file.link", EIO, linkat(dir_fd, name, to_fd, to_name, 0));
}

/* flags: 0 or AT_REMOVEDIR. */
static inline int call_unlinkat(int dir_fd, const char *name, int flags)
{
    return CALL("file.unlink", EIO, unlinkat(dir_fd, name, flags));
}

static inline int call_mkdirat(int dir_fd, const char *name, mode_t mode)
{
    return CALL("file.mkdir", ENOSPC, mkdirat(dir_fd, name, mode));
}

static inline int call_flock(int fd, int operation)
{
    int status;
    do
        status = CALL("file.flock", ENOLCK, flock(fd, operation));
    while (status == -1 && errno == EINTR);
    return status;
}

/* fd stays the caller's: the stream has a descriptor, and so a position, of its own. */
static inline DIR *call_opendir(int fd)
{
    int own = call_openat(fd, ".", O_RDONLY | O_DIRECTORY, 0);
    DIR *stream = own == -1 ? NULL : fdopendir(own);
    if (!stream && own != -1)
        close(own);
    return stream;
}

/* NULL with errno 0 at the end; "." and ".." are left out. */
static inline struct dirent *call_readdir(DIR *stream)
{
    struct dirent *entry;
    do {
        if (FAULT("file.readdir")) {
            errno = EIO;
            return NULL;
        }
        errno = 0;
        entry = readdir(stream);
    } while (entry && entry->d_name[0] == '.' &&
             (!entry->d_name[1] || (entry->d_name[1] == '.' && !entry->d_name[2])));
    return entry;
}

#endif
