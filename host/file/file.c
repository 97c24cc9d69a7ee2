/* Directories as open handles, and the calls on the names in them. */
#include "file/file.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "file/calls.h"

/* --- names and messages ---------------------------------------------------------------------- */

const char *dir_path_text(const struct dir *dir, const char *name, char out[DIR_PATH_TEXT])
{
    const char *path = dir->path ? dir->path : "";
    const char *parts[3] = {path, *path && name ? "/" : "", name ? name : *path ? "" : "."};
    if (name && strcmp(path, "/") == 0)
        parts[1] = "";
    size_t size = strlen(parts[0]) + strlen(parts[1]) + strlen(parts[2]);
    if (size < DIR_PATH_TEXT) {
        snprintf(out, DIR_PATH_TEXT, "%s%s%s", parts[0], parts[1], parts[2]);
        return out;
    }
    const char *end = parts[2] + (strlen(parts[2]) > 180 ? strlen(parts[2]) - 180 : 0);
    snprintf(out, DIR_PATH_TEXT, "%.200s…%s", *path ? path : parts[2], end);
    return out;
}

static bool is_removed(const struct dir *dir)
{
    struct stat st;
    return dir->fd >= 0 && fstat(dir->fd, &st) == 0 && st.st_nlink == 0;
}

int dir_fail(const struct dir *dir, const char *name, int sys, struct err *err)
{
    char path[DIR_PATH_TEXT];
    switch (sys) {
    case ENOENT:
        if (is_removed(dir))
            return err_set(err, ERR_FILE_GONE, "%s: this directory was removed",
                           dir_path_text(dir, NULL, path));
        break;
    case ENAMETOOLONG:
        return err_set(err, ERR_FILE_BAD_NAME, "%s: the name is too long", dir_path_text(dir, name, path));
    case EMFILE:
        return err_set(err, ERR_FILE_IO,
                       "%s: too many open files in this process; raise its limit (ulimit -n)",
                       dir_path_text(dir, name, path));
    case ELOOP:
    case ENXIO:      /* a socket, or a FIFO that nobody reads */
    case EOPNOTSUPP: /* the mode of a link */
        return err_set(err, ERR_FILE_NOT_REGULAR, "%s: a symbolic link, or no regular file",
                       dir_path_text(dir, name, path));
    }
    return err_set_file(err, sys, "%s", dir_path_text(dir, name, path));
}

int dir_fail_pair(const struct dir *dir, const char *name, const struct dir *to, const char *to_name, int sys,
                  struct err *err)
{
    if (sys == EEXIST || sys == ENOTEMPTY || (sys == ENOENT && is_removed(to)))
        return dir_fail(to, to_name, sys, err);
    if ((sys == ENOENT && is_removed(dir)) || sys == ENAMETOOLONG)
        return dir_fail(dir, name, sys, err);
    char from_path[DIR_PATH_TEXT], to_path[DIR_PATH_TEXT];
    if (sys == EXDEV) {
        err_set(err, ERR_FILE_IO, "%.190s to %.190s: they are on different file systems; copy instead",
                dir_path_text(dir, name, from_path), dir_path_text(to, to_name, to_path));
        if (err)
            err->retryable = false;
        return -1;
    }
    return err_set_file(err, sys, "%.190s to %.190s", dir_path_text(dir, name, from_path),
                        dir_path_text(to, to_name, to_path));
}

static bool climbs(const char *name)
{
    for (const char *part = name; part; part = strchr(part, '/')) {
        part += strspn(part, "/");
        if (part[0] == '.' && part[1] == '.' && (part[2] == '/' || !part[2]))
            return true;
    }
    return false;
}

int dir_check_name(const struct dir *dir, const char *name, struct err *err)
{
    const char *wrong = NULL;
    size_t size = strlen(name);
    if (size == 0)
        wrong = "an empty name";
    else if (size > 1 && name[size - 1] == '/')
        wrong = "a name does not end in a slash"; /* with one, the last component would be followed */
    else if (dir->fd != AT_FDCWD && name[0] == '/')
        wrong = "an absolute name does not lie below this directory";
    else if (dir->fd != AT_FDCWD && climbs(name))
        wrong = "a name with \"..\" may lead out of this directory";
    if (!wrong)
        return 0;
    char path[DIR_PATH_TEXT];
    return err_set(err, ERR_FILE_BAD_NAME, "%s: %s", dir_path_text(dir, name, path), wrong);
}

static int check_pair(const struct dir *dir, const char *name, const struct dir *to, const char *to_name,
                      struct err *err)
{
    return dir_check_name(dir, name, err) == 0 ? dir_check_name(to, to_name, err) : -1;
}

/* --- handles --------------------------------------------------------------------------------- */

/* How much of a name people want to see: "link/." is opened so only to follow the link. */
static int shown_size(const char *parent, const char *name)
{
    size_t size = strlen(name);
    if (*parent && strcmp(name, ".") == 0)
        return 0;
    if (size > 2 && strcmp(name + size - 2, "/.") == 0)
        size -= 2;
    return (int)size;
}

static int set_path(struct dir *out, const char *parent, const char *name, struct err *err)
{
    size_t size = strlen(parent) + strlen(name) + 2;
    int shown = shown_size(parent, name);
    out->path = FAULT("file.memory") ? NULL : malloc(size);
    if (!out->path)
        return err_set(err, ERR_NO_MEMORY, "no memory for the path of a directory");
    bool slash = *parent && shown && strcmp(parent, "/") != 0;
    snprintf(out->path, size, "%s%s%.*s", parent, slash ? "/" : "", shown, name);
    return 0;
}

int dir_open_root(struct dir *out, struct err *err)
{
    *out = DIR_CLOSED;
    if (set_path(out, "", "", err) == -1)
        return -1;
    out->fd = AT_FDCWD;
    return 0;
}

int dir_open(const struct dir *dir, const char *name, struct dir *out, struct err *err)
{
    *out = DIR_CLOSED;
    if (dir_check_name(dir, name, err) == -1)
        return -1;
    struct dir made = DIR_CLOSED;
    if (set_path(&made, dir->path, name, err) == -1)
        return -1;
    made.fd = call_openat(dir->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    if (made.fd == -1) {
        int sys = errno;
        free(made.path);
        return dir_fail(dir, name, sys, err);
    }
    *out = made;
    return 0;
}

int dir_duplicate(const struct dir *dir, struct dir *out, struct err *err)
{
    *out = DIR_CLOSED;
    struct dir made = DIR_CLOSED;
    if (set_path(&made, dir->path, "", err) == -1)
        return -1;
    made.fd = dir->fd == AT_FDCWD ? AT_FDCWD : CALL("file.open", EMFILE, fcntl(dir->fd, F_DUPFD_CLOEXEC, 0));
    if (made.fd == -1) {
        int sys = errno;
        free(made.path);
        return dir_fail(dir, NULL, sys, err);
    }
    *out = made;
    return 0;
}

void dir_close(struct dir *dir)
{
    if (dir->fd >= 0)
        close(dir->fd);
    free(dir->path);
    *dir = DIR_CLOSED;
}

/* --- looking --------------------------------------------------------------------------------- */

static void read_stat(const struct stat *st, struct file_stat *out)
{
    *out = (struct file_stat){
        .kind = S_ISREG(st->st_mode)   ? FILE_REGULAR
                : S_ISDIR(st->st_mode) ? FILE_DIRECTORY
                : S_ISLNK(st->st_mode) ? FILE_LINK
                                       : FILE_OTHER,
        .size = (uint64_t)st->st_size,
        .inode = st->st_ino,
        .device = st->st_dev,
        .links = st->st_nlink,
        .mtime_ms = (int64_t)st->st_mtim.tv_sec * 1000 + st->st_mtim.tv_nsec / 1000000,
        .mode = st->st_mode & 07777,
        .uid = st->st_uid,
    };
}

int dir_stat(const struct dir *dir, const char *name, struct file_stat *out, struct err *err)
{
    struct stat st;
    if (name && dir_check_name(dir, name, err) == -1)
        return -1;
    int status = name || dir->fd == AT_FDCWD ? call_fstatat(dir->fd, name ? name : ".", &st)
                                             : call_fstat(dir->fd, &st);
    if (status == -1)
        return dir_fail(dir, name, errno, err);
    read_stat(&st, out);
    return 0;
}

static int list_add(struct dir_list *list, const char *name, const struct stat *st, struct err *err)
{
    if (list->n == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 16;
        struct dir_entry *entries =
            FAULT("file.memory") ? NULL : realloc(list->entries, capacity * sizeof *entries);
        if (!entries)
            return err_set(err, ERR_NO_MEMORY, "no memory for a list of %zu names", capacity);
        list->entries = entries;
        list->capacity = capacity;
    }
    struct dir_entry *entry = &list->entries[list->n];
    entry->name = FAULT("file.memory") ? NULL : strdup(name);
    if (!entry->name)
        return err_set(err, ERR_NO_MEMORY, "no memory for a list of names");
    read_stat(st, &entry->stat);
    list->n++;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct dir_entry *)a)->name, ((const struct dir_entry *)b)->name);
}

int dir_list(const struct dir *dir, struct dir_list *out, struct err *err)
{
    DIR *stream = call_opendir(dir->fd);
    if (!stream)
        return dir_fail(dir, NULL, errno, err);
    int status = 0;
    struct dirent *entry;
    while (status == 0 && (entry = call_readdir(stream))) {
        struct stat st;
        if (call_fstatat(dirfd(stream), entry->d_name, &st) == 0)
            status = list_add(out, entry->d_name, &st, err);
        else if (errno != ENOENT)
            status = dir_fail(dir, entry->d_name, errno, err);
    }
    if (status == 0 && errno != 0)
        status = dir_fail(dir, NULL, errno, err);
    closedir(stream);
    if (status == 0 && out->n > 1)
        qsort(out->entries, out->n, sizeof *out->entries, by_name);
    return status;
}

void dir_list_free(struct dir_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->entries[i].name);
    free(list->entries);
    *list = (struct dir_list){0};
}

/* --- names ----------------------------------------------------------------------------------- */

int dir_rename(const struct dir *dir, const char *name, const struct dir *to, const char *to_name,
               struct err *err)
{
    if (check_pair(dir, name, to, to_name, err) == -1)
        return -1;
    if (call_renameat2(dir->fd, name, to->fd, to_name, 0) == -1)
        return dir_fail_pair(dir, name, to, to_name, errno, err);
    return 0;
}

/* For file systems without RENAME_NOREPLACE (some network ones): link refuses to replace, too. */
static int link_then_unlink(const struct dir *dir, const char *name, const struct dir *to,
                            const char *to_name, struct err *err)
{
    struct stat st;
    if (call_fstatat(dir->fd, name, &st) == -1)
        return dir_fail(dir, name, errno, err);
    if (S_ISDIR(st.st_mode))
        return dir_fail_pair(dir, name, to, to_name, EINVAL, err);
    if (call_linkat(dir->fd, name, to->fd, to_name) == -1)
        return dir_fail_pair(dir, name, to, to_name, errno, err);
    if (call_unlinkat(dir->fd, name, 0) == -1) {
        int sys = errno;
        unlinkat(to->fd, to_name, 0);
        return dir_fail(dir, name, sys, err);
    }
    return 0;
}

int dir_rename_exclusive(const struct dir *dir, const char *name, const struct dir *to, const char *to_name,
                         struct err *err)
{
    if (check_pair(dir, name, to, to_name, err) == -1)
        return -1;
    int status = FAULT("file.noreplace") ? (errno = EINVAL, -1)
                                         : call_renameat2(dir->fd, name, to->fd, to_name, RENAME_NOREPLACE);
    if (status == 0)
        return 0;
    if (errno == EINVAL || errno == ENOSYS)
        return link_then_unlink(dir, name, to, to_name, err);
    return dir_fail_pair(dir, name, to, to_name, errno, err);
}

int dir_link(const struct dir *dir, const char *name, const struct dir *to, const char *to_name,
             struct err *err)
{
    if (check_pair(dir, name, to, to_name, err) == -1)
        return -1;
    if (call_linkat(dir->fd, name, to->fd, to_name) == -1)
        return dir_fail_pair(dir, name, to, to_name, errno, err);
    return 0;
}

int dir_symlink(const struct dir *dir, const char *target, const char *name, struct err *err)
{
    if (dir_check_name(dir, name, err) == -1)
        return -1;
    if (CALL("file.link", EIO, symlinkat(target, dir->fd, name)) == -1)
        return dir_fail(dir, name, errno, err);
    return 0;
}

int dir_readlink(const struct dir *dir, const char *name, char out[4096], struct err *err)
{
    if (dir_check_name(dir, name, err) == -1)
        return -1;
    ssize_t size = CALL("file.readlink", EIO, readlinkat(dir->fd, name, out, 4095));
    if (size >= 0) {
        out[size] = '\0';
        return 0;
    }
    char path[DIR_PATH_TEXT];
    if (errno == EINVAL)
        return err_set(err, ERR_FILE_NOT_REGULAR, "%s: not a symbolic link", dir_path_text(dir, name, path));
    return dir_fail(dir, name, errno, err);
}

int dir_unlink(const struct dir *dir, const char *name, struct err *err)
{
    if (dir_check_name(dir, name, err) == -1)
        return -1;
    return call_unlinkat(dir->fd, name, 0) == -1 ? dir_fail(dir, name, errno, err) : 0;
}

int dir_rmdir(const struct dir *dir, const char *name, struct err *err)
{
    if (dir_check_name(dir, name, err) == -1)
        return -1;
    return call_unlinkat(dir->fd, name, AT_REMOVEDIR) == -1 ? dir_fail(dir, name, errno, err) : 0;
}

int dir_mkdir(const struct dir *dir, const char *name, unsigned mode, struct err *err)
{
    if (dir_check_name(dir, name, err) == -1)
        return -1;
    return call_mkdirat(dir->fd, name, mode) == -1 ? dir_fail(dir, name, errno, err) : 0;
}

int dir_make_path(const struct dir *dir, const char *name, unsigned mode, struct err *err)
{
    if (dir_check_name(dir, name, err) == -1)
        return -1;
    char prefix[PATH_MAX];
    size_t size = strlen(name);
    if (size >= sizeof prefix)
        return dir_fail(dir, name, ENAMETOOLONG, err);
    for (size_t i = 1; i <= size; i++) {
        if ((name[i] != '/' && name[i] != '\0') || name[i - 1] == '/')
            continue;
        memcpy(prefix, name, i);
        prefix[i] = '\0';
        if (call_mkdirat(dir->fd, prefix, mode) == 0)
            continue;
        struct stat st; /* EROFS and EACCES come before EEXIST on some file systems */
        int sys = errno;
        if (fstatat(dir->fd, prefix, &st, 0) == -1)
            return dir_fail(dir, prefix, sys, err);
        if (!S_ISDIR(st.st_mode))
            return dir_fail(dir, prefix, ENOTDIR, err);
    }
    return 0;
}

int dir_touch(const struct dir *dir, const char *name, int64_t mtime_ms, struct err *err)
{
    if (dir_check_name(dir, name, err) == -1)
        return -1;
    int64_t rest = mtime_ms % 1000;
    if (rest < 0)
        rest += 1000;
    struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT},
        {.tv_sec = (time_t)((mtime_ms - rest) / 1000), .tv_nsec = (long)rest * 1000000},
    };
    if (CALL("file.utime", EIO, utimensat(dir->fd, name, times, AT_SYMLINK_NOFOLLOW)) == -1)
        return dir_fail(dir, name, errno, err);
    return 0;
}

int dir_chmod(const struct dir *dir, const char *name, unsigned mode, struct err *err)
{
    if (dir_check_name(dir, name, err) == -1)
        return -1;
    if (CALL("file.chmod", EIO, fchmodat(dir->fd, name, mode, AT_SYMLINK_NOFOLLOW)) == -1)
        return dir_fail(dir, name, errno, err);
    return 0;
}

/* --- files ----------------------------------------------------------------------------------- */

int dir_open_regular(const struct dir *dir, const char *name, int flags, unsigned mode, struct stat *st,
                     struct err *err)
{
    if (dir_check_name(dir, name, err) == -1)
        return -1;
    /* Looked at first, because opening alone already does something to a FIFO or a device; and again after.
     */
    if (call_fstatat(dir->fd, name, st) == 0) {
        if (!S_ISREG(st->st_mode))
            return dir_fail(dir, name, ELOOP, err);
    } else if (errno != ENOENT || !(flags & O_CREAT)) {
        return dir_fail(dir, name, errno, err);
    }
    int fd = call_openat(dir->fd, name, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, mode);
    if (fd == -1)
        return dir_fail(dir, name, errno, err);
    int sys = 0;
    if (call_fstat(fd, st) == -1)
        sys = errno;
    else if (!S_ISREG(st->st_mode))
        sys = ELOOP;
    if (sys == 0)
        return fd;
    close(fd);
    return dir_fail(dir, name, sys, err);
}

/* 1: the file was removed or replaced between our open and our lock, which therefore protects nothing. */
static int lock_once(const struct dir *dir, const char *name, int *lock_fd, struct err *err)
{
    struct stat opened, named;
    int fd = dir_open_regular(dir, name, O_RDWR | O_CREAT, 0600, &opened, err);
    if (fd == -1 && err->code == ERR_FILE_DENIED) /* another user's: flock asks for no more than reading */
        fd = dir_open_regular(dir, name, O_RDONLY, 0, &opened, err);
    if (fd == -1)
        return -1;
    if (call_flock(fd, LOCK_EX | LOCK_NB) == -1)
        goto failed;
    bool there = call_fstatat(dir->fd, name, &named) == 0;
    if (!there && errno != ENOENT)
        goto failed;
    if (there && named.st_ino == opened.st_ino && named.st_dev == opened.st_dev) {
        *lock_fd = fd;
        return 0;
    }
    close(fd);
    return 1;
failed:;
    int sys = errno;
    close(fd);
    char path[DIR_PATH_TEXT];
    if (sys == EWOULDBLOCK)
        return err_set(err, ERR_FILE_LOCKED, "%s: locked by another", dir_path_text(dir, name, path));
    return dir_fail(dir, name, sys, err);
}

int dir_lock(const struct dir *dir, const char *name, int *lock_fd, struct err *err)
{
    struct err own;
    if (!err)
        err = &own;
    for (int tries = 0; tries < 16; tries++) {
        int status = lock_once(dir, name, lock_fd, err);
        if (status <= 0)
            return status;
    }
    char path[DIR_PATH_TEXT];
    return err_set(err, ERR_FILE_LOCKED, "%s: replaced again and again while it was locked",
                   dir_path_text(dir, name, path));
}

void file_unlock(int lock_fd)
{
    if (lock_fd < 0)
        return;
    flock(lock_fd, LOCK_UN); /* also for a copy that a child holds until its exec */
    close(lock_fd);
}
