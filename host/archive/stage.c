/* The folder beside the target into which an archive is unpacked. */
#include "archive/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive/beside.h"
#include "archive/guard.h"
#include "base/fault.h"

#define OPEN_FOLDER (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* Bytes of names that are kept until the end: many folders with very long names must not take all memory. */
#define FOLDER_TEXT_MAX ((size_t)64 << 20)

struct stage_folder {
    char *path;
    struct stage_meta meta;
};

static int failed(struct err *err, const char *path)
{
    int sys = errno;
    char shown[GUARD_SHOWN];
    return err_set_file(err, sys, "unpacking '%s'", guard_shown(path, shown));
}

int stage_open(struct stage *stage, int dir_fd, const char *name, struct err *err)
{
    const char *base;
    *stage = (struct stage){.root = -1, .last = -1};
    stage->parent = beside_open_parent(dir_fd, name, false, &base, err);
    if (stage->parent < 0)
        return -1;
    if (strlen(base) > NAME_MAX) {
        close(stage->parent);
        return err_set_file(err, ENAMETOOLONG, "%s", name);
    }
    strcpy(stage->base, base);
    beside_part_name(base, stage->part);
    /* Nobody else looks in before it is complete. */
    if (FAULT("archive.mkdir") ? (errno = EIO, true) : mkdirat(stage->parent, stage->part, 0700) != 0) {
        failed(err, name);
        close(stage->parent);
        return -1;
    }
    stage->root = FAULT("archive.open") ? (errno = EIO, -1) : openat(stage->parent, stage->part, OPEN_FOLDER);
    if (stage->root < 0) {
        failed(err, name);
        stage_discard(stage);
        return -1;
    }
    return 0;
}

static int make_folder(struct stage *stage, int fd, const char *name)
{
    if (FAULT("archive.mkdir")) {
        errno = EIO;
        return -1;
    }
    if (mkdirat(fd, name, 0755))
        return -1;
    stage->made++;
    return 0;
}

/* Opens the folder `path` in the stage; with `make`, missing ones are made. The caller closes the descriptor.
 */
static int open_folder(struct stage *stage, const char *path, bool make, struct err *err)
{
    int fd = FAULT("archive.open") ? (errno = EIO, -1) : fcntl(stage->root, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return failed(err, path);
    for (const char *part = path; *part;) {
        char name[NAME_MAX + 1];
        size_t length = strcspn(part, "/");
        memcpy(name, part, length);
        name[length] = '\0';
        part += length + (part[length] == '/');
        int next = openat(fd, name, OPEN_FOLDER);
        if (next < 0 && errno == ENOENT && make && !make_folder(stage, fd, name))
            next = openat(fd, name, OPEN_FOLDER);
        int sys = errno;
        close(fd);
        if (next < 0 && (sys == ELOOP || sys == ENOTDIR))
            return guard_unsafe(err, path, "passes through a link or a file");
        if (next < 0) {
            errno = sys;
            return failed(err, path);
        }
        fd = next;
    }
    return fd;
}

/* The folder in which `path` belongs, made if it is missing; *base is the name in it. The descriptor stays
 * the stage's, until the next call. Archives list folder after folder: the last one is kept open. (It can not
 * have been replaced in the meantime: a folder, once there, stays.) */
static int open_place(struct stage *stage, const char *path, const char **base, struct err *err)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    *base = slash ? slash + 1 : path;
    if (stage->last >= 0 && strlen(stage->last_path) == length && !memcmp(stage->last_path, path, length))
        return stage->last;
    if (stage->last >= 0)
        close(stage->last);
    memcpy(stage->last_path, path, length);
    stage->last_path[length] = '\0';
    stage->last = open_folder(stage, stage->last_path, true, err);
    return stage->last;
}

/* Makes room for a file or link: what has the name goes (the later entry counts), but never a folder. */
static int clear_place(int fd, const char *base, const char *path, struct err *err)
{
    struct stat st;
    if (!fstatat(fd, base, &st, AT_SYMLINK_NOFOLLOW) && S_ISDIR(st.st_mode))
        return guard_unsafe(err, path, "takes the place of a folder");
    if (unlinkat(fd, base, 0) && errno != ENOENT)
        return failed(err, path);
    return 0;
}

static int remember_folder(struct stage *stage, const char *path, const struct stage_meta *meta,
                           struct err *err)
{
    if (stage->folder_count == stage->folder_room) {
        size_t room = stage->folder_room ? stage->folder_room * 2 : 64;
        void *grown = realloc(stage->folders, room * sizeof *stage->folders);
        if (!grown)
            return err_set(err, ERR_NO_MEMORY, "out of memory for the folders of an archive");
        stage->folders = grown;
        stage->folder_room = room;
    }
    stage->folder_text += strlen(path);
    if (stage->folder_text > FOLDER_TEXT_MAX)
        return err_set(err, ERR_ARCHIVE_TOO_MANY,
                       "the names of the archive's folders are more than %zu bytes", FOLDER_TEXT_MAX);
    char *copy = FAULT("archive.memory") ? NULL : strdup(path);
    if (!copy)
        return err_set(err, ERR_NO_MEMORY, "out of memory for the folders of an archive");
    stage->folders[stage->folder_count++] = (struct stage_folder){.path = copy, .meta = *meta};
    return 0;
}

int stage_folder(struct stage *stage, const char *path, const struct stage_meta *meta, struct err *err)
{
    if (*path) {
        const char *base;
        int fd = open_place(stage, path, &base, err);
        if (fd < 0)
            return -1;
        if (make_folder(stage, fd, base)) {
            struct stat st;
            if (errno != EEXIST)
                return failed(err, path);
            if (fstatat(fd, base, &st, AT_SYMLINK_NOFOLLOW) || !S_ISDIR(st.st_mode))
                return guard_unsafe(err, path, "is a folder in the place of a file or link");
        }
    }
    return remember_folder(stage, path, meta, err);
}

int stage_file(struct stage *stage, const char *path, struct err *err)
{
    const char *base;
    int fd = open_place(stage, path, &base, err);
    if (fd < 0)
        return -1;
    for (int tries = 0;; tries++) {
        int file = FAULT("archive.create")
                       ? (errno = EIO, -1)
                       : openat(fd, base, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (file >= 0) {
            stage->made++;
            return file;
        }
        if (errno != EEXIST || tries > 0)
            return failed(err, path);
        if (clear_place(fd, base, path, err))
            return -1;
    }
}

static int set_meta(int fd, const struct stage_meta *meta, mode_t at_least)
{
    if (FAULT("archive.meta")) {
        errno = EIO;
        return -1;
    }
    if (fchmod(fd, (meta->mode & 0777) | at_least))
        return -1;
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, meta->time};
    return meta->has_time ? futimens(fd, times) : 0;
}

int stage_file_end(int fd, const char *path, const struct stage_meta *meta, struct err *err)
{
    int status = set_meta(fd, meta, 0600) ? failed(err, path) : 0;
    if (close(fd) && !status)
        status = failed(err, path);
    return status;
}

int stage_link(struct stage *stage, const char *path, const char *target, const struct stage_meta *meta,
               struct err *err)
{
    const char *base;
    int fd = open_place(stage, path, &base, err);
    if (fd < 0 || clear_place(fd, base, path, err))
        return -1;
    if (FAULT("archive.link") ? (errno = EIO, true) : symlinkat(target, fd, base) != 0)
        return failed(err, path);
    stage->made++;
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, meta->time};
    if (meta->has_time && utimensat(fd, base, times, AT_SYMLINK_NOFOLLOW))
        return failed(err, path);
    return 0;
}

int stage_hard_link(struct stage *stage, const char *path, const char *target_path, struct err *err)
{
    char folder[PATH_MAX];
    strcpy(folder, target_path);
    char *slash = strrchr(folder, '/');
    const char *target = target_path + (slash ? slash + 1 - folder : 0);
    *(slash ? slash : folder) = '\0';

    const char *base;
    struct stat st, now;
    int status = -1;
    int fd = open_place(stage, path, &base, err);
    if (fd < 0)
        return -1;
    int from = open_folder(stage, folder, false, err);
    if (from < 0)
        return err->code == ERR_FILE_NOT_FOUND
                   ? guard_unsafe(err, path, "is a hard link to what is not there")
                   : -1;
    if (fstatat(from, target, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode)) {
        guard_unsafe(err, path, "is a hard link to what is no file of this archive");
        goto out;
    }
    status = 0;
    /* A link to itself: it must not be removed to make room for itself. */
    if (!fstatat(fd, base, &now, AT_SYMLINK_NOFOLLOW) && now.st_dev == st.st_dev && now.st_ino == st.st_ino)
        goto out;
    status = clear_place(fd, base, path, err);
    if (!status && (FAULT("archive.link") ? (errno = EIO, true) : linkat(from, target, fd, base, 0) != 0))
        status = failed(err, path);
    stage->made += !status;
out:
    close(from);
    return status;
}

/* Last, because a read-only folder would take no files and each file changes its folder's time. */
static int set_folders(struct stage *stage, struct err *err)
{
    if (fchmod(stage->root, 0755))
        return failed(err, stage->base);
    for (size_t i = 0; i < stage->folder_count; i++) {
        const struct stage_folder *folder = &stage->folders[i];
        int fd = open_folder(stage, folder->path, false, err);
        if (fd < 0)
            return -1;
        int status = set_meta(fd, &folder->meta, 0700) ? failed(err, folder->path) : 0;
        close(fd);
        if (status)
            return -1;
    }
    return 0;
}

static void release(struct stage *stage)
{
    if (stage->last >= 0)
        close(stage->last);
    if (stage->root >= 0)
        close(stage->root);
    close(stage->parent);
    for (size_t i = 0; i < stage->folder_count; i++)
        free(stage->folders[i].path);
    free(stage->folders);
}

int stage_finish(struct stage *stage, const char *only_file, struct err *err)
{
    if (only_file) {
        if (beside_install(stage->root, only_file, stage->parent, stage->base, err))
            return -1;
        beside_remove(stage->parent, stage->part);
    } else if (set_folders(stage, err) ||
               beside_install(stage->parent, stage->part, stage->parent, stage->base, err)) {
        return -1;
    }
    release(stage);
    return 0;
}

void stage_discard(struct stage *stage)
{
    beside_remove(stage->parent, stage->part);
    release(stage);
}
