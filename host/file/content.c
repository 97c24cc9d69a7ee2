/* Whole reads and writes of small files, and the copy of one of any size. */
#include "file/content.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "file/calls.h"

#define CHUNK (64 * 1024)
#define COPY_CHUNK (1024 * 1024)

/* --- reading --------------------------------------------------------------------------------- */

/* Adds at most max bytes of fd from offset on. */
static int read_part(const struct dir *dir, const char *name, int fd, uint64_t offset, uint64_t max,
                     struct buffer *out, struct err *err)
{
    for (uint64_t left = max; left > 0;) {
        size_t want = left < CHUNK ? (size_t)left : CHUNK;
        if (FAULT("file.memory") || buffer_reserve(out, want) == -1)
            return dir_fail(dir, name, ENOMEM, err);
        ssize_t got = call_pread(fd, out->data + out->size, want, (off_t)offset);
        if (got == -1)
            return dir_fail(dir, name, errno, err);
        out->size += (size_t)got;
        out->data[out->size] = '\0';
        if (got == 0)
            break;
        offset += (uint64_t)got;
        left -= (uint64_t)got;
    }
    return 0;
}

static int too_big(const struct dir *dir, const char *name, uint64_t size, uint64_t max, struct err *err)
{
    char path[DIR_PATH_TEXT];
    return err_set(err, ERR_FILE_TOO_BIG, "%s: %llu bytes, at most %llu are read",
                   dir_path_text(dir, name, path), (unsigned long long)size, (unsigned long long)max);
}

int dir_read(const struct dir *dir, const char *name, uint64_t max, struct buffer *out, struct err *err)
{
    struct stat st;
    int fd = dir_open_regular(dir, name, O_RDONLY, 0, &st, err);
    if (fd == -1)
        return -1;
    size_t before = out->size;
    int status;
    if ((uint64_t)st.st_size > max)
        status = too_big(dir, name, (uint64_t)st.st_size, max, err);
    else if (FAULT("file.memory") || buffer_reserve(out, (size_t)st.st_size + 1) == -1)
        status = dir_fail(dir, name, ENOMEM, err);
    else
        status = read_part(dir, name, fd, 0, max < UINT64_MAX ? max + 1 : max, out, err);
    if (status == 0 && out->size - before > max)
        status = too_big(dir, name, out->size - before, max, err);
    close(fd);
    return status;
}

int dir_read_at(const struct dir *dir, const char *name, uint64_t offset, uint64_t max, struct buffer *out,
                struct err *err)
{
    struct stat st;
    int fd = dir_open_regular(dir, name, O_RDONLY, 0, &st, err);
    if (fd == -1)
        return -1;
    int status = 0;
    if (offset < (uint64_t)st.st_size)
        status = read_part(dir, name, fd, offset, max, out, err);
    close(fd);
    return status;
}

/* --- writing --------------------------------------------------------------------------------- */

int dir_create(const struct dir *dir, const char *name, const void *data, size_t size, unsigned mode,
               struct err *err)
{
    if (dir_check_name(dir, name, err) == -1)
        return -1;
    int fd = call_openat(dir->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
    if (fd == -1)
        return dir_fail(dir, name, errno, err);
    int sys = call_write_all(fd, data, size) == -1 ? errno : 0;
    if (call_close_written(fd) == -1 && sys == 0)
        sys = errno;
    if (sys == 0)
        return 0;
    unlinkat(dir->fd, name, 0);
    return dir_fail(dir, name, sys, err);
}

int dir_append(const struct dir *dir, const char *name, const void *data, size_t size, unsigned mode,
               struct err *err)
{
    struct stat st;
    int fd = dir_open_regular(dir, name, O_WRONLY | O_CREAT | O_APPEND, mode, &st, err);
    if (fd == -1)
        return -1;
    int sys = call_write_all(fd, data, size) == -1 ? errno : 0;
    if (call_close_written(fd) == -1 && sys == 0)
        sys = errno;
    return sys == 0 ? 0 : dir_fail(dir, name, sys, err);
}

/* A file that is written under a name nobody knows, and then gets its own. */
struct draft {
    const struct dir *dir; /* where it lies */
    char name[PATH_MAX];
    int fd;
};

static int draft_open(struct draft *draft, const struct dir *dir, const char *name,
                      const struct dir *temporary, unsigned mode, struct err *err)
{
    char random[17];
    random_hex(random, 16);
    const char *slash = temporary ? NULL : strrchr(name, '/');
    int folder = slash ? (int)(slash - name) + 1 : 0;
    draft->dir = temporary ? temporary : dir;
    if (snprintf(draft->name, sizeof draft->name, "%.*s.%s", folder, name, random) >= (int)sizeof draft->name)
        return dir_fail(dir, name, ENAMETOOLONG, err);
    draft->fd = call_openat(draft->dir->fd, draft->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
    /* A full or missing folder is told by the name that the caller knows. */
    return draft->fd == -1 ? dir_fail(draft->dir, temporary ? draft->name : name, errno, err) : 0;
}

/* Gives the draft its name; `sys` is the errno of what went wrong before, or 0. On -1 the draft is gone. */
static int draft_finish(struct draft *draft, int sys, const struct dir *dir, const char *name,
                        struct err *err)
{
    if (call_close_written(draft->fd) == -1 && sys == 0)
        sys = errno;
    if (sys == 0) {
        if (call_renameat2(draft->dir->fd, draft->name, dir->fd, name, 0) == 0)
            return 0;
        sys = errno;
    }
    unlinkat(draft->dir->fd, draft->name, 0);
    if (sys == EXDEV)
        return dir_fail_pair(draft->dir, draft->name, dir, name, sys, err);
    return dir_fail(dir, name, sys, err);
}

/* Mode and, where permitted, owner of `like`. */
static int make_alike(int fd, const struct stat *like)
{
    struct stat st;
    if (call_fstat(fd, &st) == -1)
        return -1;
    bool owned = st.st_uid == like->st_uid && st.st_gid == like->st_gid;
    if (!owned && fchown(fd, like->st_uid, like->st_gid) == -1 && errno != EPERM)
        return -1;
    return CALL("file.chmod", EIO, fchmod(fd, like->st_mode & 07777));
}

int dir_replace(const struct dir *dir, const char *name, const void *data, size_t size, unsigned mode,
                const struct dir *temporary, struct err *err)
{
    if (dir_check_name(dir, name, err) == -1)
        return -1;
    struct stat old;
    if (mode == MODE_KEEP && call_fstatat(dir->fd, name, &old) == -1)
        return dir_fail(dir, name, errno, err);
    if (mode == MODE_KEEP && !S_ISREG(old.st_mode))
        return dir_fail(dir, name, ELOOP, err);
    struct draft draft;
    if (draft_open(&draft, dir, name, temporary, mode == MODE_KEEP ? 0600 : mode, err) == -1)
        return -1;
    int sys = call_write_all(draft.fd, data, size) == -1 ? errno : 0;
    if (sys == 0 && mode == MODE_KEEP && make_alike(draft.fd, &old) == -1)
        sys = errno;
    return draft_finish(&draft, sys, dir, name, err);
}

/* --- copying --------------------------------------------------------------------------------- */

/* All of from_fd into to_fd; 0 or an errno, ECANCELED when *cancelled was seen. */
static int copy_bytes(int from_fd, int to_fd, const atomic_bool *cancelled)
{
    char *chunk = FAULT("file.memory") ? NULL : malloc(COPY_CHUNK);
    if (!chunk)
        return ENOMEM;
    int sys = 0;
    off_t offset = 0;
    while (sys == 0) {
        ssize_t got = call_pread(from_fd, chunk, COPY_CHUNK, offset);
        if (got == -1 || (got > 0 && call_write_all(to_fd, chunk, (size_t)got) == -1))
            sys = errno;
        if (got <= 0)
            break;
        offset += got;
        if (cancelled && atomic_load(cancelled))
            sys = ECANCELED;
    }
    free(chunk);
    return sys;
}

int dir_copy(const struct dir *dir, const char *name, const struct dir *to, const char *to_name,
             const atomic_bool *cancelled, struct err *err)
{
    if (dir_check_name(to, to_name, err) == -1)
        return -1;
    struct stat st;
    int from_fd = dir_open_regular(dir, name, O_RDONLY, 0, &st, err);
    if (from_fd == -1)
        return -1;
    struct draft draft;
    int status = draft_open(&draft, to, to_name, NULL, 0600, err);
    if (status == 0) {
        int sys = copy_bytes(from_fd, draft.fd, cancelled);
        if (sys == 0 && CALL("file.chmod", EIO, fchmod(draft.fd, st.st_mode & 0777)) == -1)
            sys = errno;
        status = draft_finish(&draft, sys, to, to_name, err);
        if (sys == ECANCELED)
            err_set(err, ERR_TASK_CANCELLED, "the copy of %s was cancelled", name);
    }
    close(from_fd);
    return status;
}
