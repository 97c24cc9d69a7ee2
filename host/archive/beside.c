/* Writing beside and renaming, and the two ends of a stream that are files. */
#include "archive/beside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/archive.h"
#include "base/fault.h"
#include "base/pipe.h"
#include "base/random.h"

#define PART_SUFFIX ".part-"
#define PART_DIGITS 8

/* Opens each of the folders in `path` (no empty components but repeated slashes) without following a link. */
static int open_each(int dir_fd, char *path)
{
    int fd = dir_fd;
    char *rest = NULL;
    for (char *part = strtok_r(path, "/", &rest); part; part = strtok_r(NULL, "/", &rest)) {
        int next = openat(fd, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int sys = errno == ELOOP ? ENOTDIR : errno;
        if (fd != dir_fd)
            close(fd);
        if (next < 0) {
            errno = sys;
            return -1;
        }
        fd = next;
    }
    return fd;
}

int beside_open_parent(int dir_fd, const char *name, bool may_follow, const char **base, struct err *err)
{
    const char *slash = strrchr(name, '/');
    *base = slash ? slash + 1 : name;
    if (!**base || !strcmp(*base, ".") || !strcmp(*base, "..") || strlen(name) >= PATH_MAX)
        return err_set(err, ERR_FILE_BAD_NAME, "'%s' names no file and no folder", name);
    char path[PATH_MAX] = ".";
    if (slash) {
        memcpy(path, name, (size_t)(slash - name) + 1); /* with its slash: the root is a parent too */
        path[slash - name + 1] = '\0';
    }
    int fd;
    if (FAULT("archive.open"))
        fd = -1, errno = EIO;
    else if (may_follow || dir_fd == AT_FDCWD || !slash || *path == '/')
        fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    else
        fd = open_each(dir_fd, path);
    return fd >= 0 ? fd : err_set_file(err, errno, "%s", name);
}

void beside_part_name(const char *base, char part[NAME_MAX + 1])
{
    char digits[PART_DIGITS + 1];
    random_hex(digits, PART_DIGITS);
    int room = NAME_MAX - PART_DIGITS - (int)strlen(PART_SUFFIX);
    snprintf(part, NAME_MAX + 1, "%.*s" PART_SUFFIX "%s", room, base, digits);
}

int beside_install(int from_fd, const char *from, int to_fd, const char *to, struct err *err)
{
    for (int tries = 0;; tries++) {
        if (FAULT("archive.rename"))
            return err_set_file(err, EIO, "%s", to);
        if (!renameat(from_fd, from, to_fd, to))
            return 0;
        int sys = errno;
        /* A folder does not take a file's place, nor a file a folder's: the old one has to go first. */
        int flags = sys == ENOTDIR ? 0 : sys == EISDIR ? AT_REMOVEDIR : -1;
        if (flags < 0 || tries > 0)
            return err_set_file(err, sys == EEXIST ? ENOTEMPTY : sys, "%s", to);
        if (unlinkat(to_fd, to, flags))
            return err_set_file(err, errno == EEXIST ? ENOTEMPTY : errno, "%s", to);
    }
}

/* Removes what is in the folder and closes fd. Depth is bounded: guard_name bounds what was written. */
static void remove_children(int fd)
{
    DIR *folder = fdopendir(fd);
    if (!folder) {
        close(fd);
        return;
    }
    struct dirent *child;
    while ((child = readdir(folder)))
        if (strcmp(child->d_name, ".") && strcmp(child->d_name, ".."))
            beside_remove(fd, child->d_name);
    closedir(folder);
}

void beside_remove(int dir_fd, const char *name)
{
    if (!unlinkat(dir_fd, name, 0) || errno == ENOENT)
        return;
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return;
    remove_children(fd);
    unlinkat(dir_fd, name, AT_REMOVEDIR);
}

/* O_NONBLOCK: a FIFO in the place of the file must not hold the thread. */
static int open_regular(int dir_fd, const char *name, struct err *err)
{
    int fd = FAULT("archive.open")
                 ? (errno = EIO, -1)
                 : openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return err_set_file(err, errno, "%s", name);
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        close(fd);
        return err_set(err, ERR_FILE_NOT_REGULAR, "%s: is no regular file", name);
    }
    return fd;
}

int archive_feed_file(int dir_fd, const char *name, struct pipe *out, struct err *err)
{
    int fd = open_regular(dir_fd, name, err);
    if (fd < 0) {
        pipe_abort(out, err);
        return -1;
    }
    int status = pipe_write_file(out, fd, name, err);
    close(fd);
    return status;
}

int archive_keep_file(struct pipe *in, int dir_fd, const char *name, struct err *err)
{
    const char *base;
    char part[NAME_MAX + 1];
    int status = -1, fd = -1;
    int parent = beside_open_parent(dir_fd, name, true, &base, err);
    if (parent < 0)
        goto out;
    beside_part_name(base, part);
    /* The umask decides who may read it, as for any file that a program makes. */
    fd = FAULT("archive.create") ? (errno = EIO, -1)
                                 : openat(parent, part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) {
        err_set_file(err, errno, "%s", name);
        goto out;
    }
    status = pipe_read_file(in, fd, name, err);
    /* Some file systems report a full disk only here. */
    if (close(fd) && !status)
        status = err_set_file(err, errno, "%s", name);
    if (!status)
        status = beside_install(parent, part, parent, base, err);
    if (status)
        unlinkat(parent, part, 0);
out:
    if (status)
        pipe_abort(in, err);
    if (parent >= 0)
        close(parent);
    return status;
}
