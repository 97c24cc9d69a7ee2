/* Removing and measuring whole trees.
 *
 * One walk serves both. It holds the folder it is in and no other: the way down is kept as names, the way up
 * is "..", and the inode found there must be the one that was left (a folder that is moved meanwhile would
 * otherwise lead us out of the tree). A folder is read once, and its sub-folders' names are kept, so that no
 * position in a changing folder is ever relied on. */
#include "file/tree.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "file/calls.h"

#define RESCANS 8 /* of a folder that somebody still writes into while it is removed */

struct names {
    char **list;
    size_t n, capacity;
};

struct level {
    char *name; /* in the folder above */
    ino_t inode;
    struct names folders; /* still to be walked: the last one first */
    unsigned rescans;     /* how often a sub-folder was walked again */
    bool failed;          /* something in here was not removed */
};

struct walk {
    const struct dir *dir; /* the top one's parent */
    int fd;                /* the folder of the last level */
    struct level *levels;
    size_t depth, capacity;
    dev_t device;
    const atomic_bool *cancelled;
    uint64_t failures;
    struct err *err; /* of the first failure */

    /* true: a folder, to be walked later. */
    bool (*visit)(struct walk *, const char *name, unsigned char type);
    bool removing;
    struct measure *measure;
};

/* --- messages -------------------------------------------------------------------------------- */

/* Records the failure of `name` (NULL: the folder we are in), and lets the walk go on. */
static void note(struct walk *walk, const char *name, int sys)
{
    if (walk->depth > 0)
        walk->levels[walk->depth - 1].failed = true;
    if (walk->failures++ > 0)
        return;
    struct buffer path = BUFFER_EMPTY;
    for (size_t i = 0; i < walk->depth; i++)
        buffer_format(&path, "%s%s", i ? "/" : "", walk->levels[i].name);
    if (name)
        buffer_format(&path, "%s%s", path.size ? "/" : "", name);
    const char *text = path.data ? path.data : "";
    if (sys == EXDEV) {
        char where[DIR_PATH_TEXT];
        err_set(walk->err, ERR_FILE_IO, "%s: another file system is mounted there; unmount it first",
                dir_path_text(walk->dir, text, where));
    } else {
        dir_fail(walk->dir, text, sys, walk->err);
    }
    buffer_free(&path);
}

/* The end of the walk: whatever was noted before matters less. */
static int stop(struct walk *walk, enum err_code code, const char *why)
{
    char where[DIR_PATH_TEXT];
    const char *top = walk->depth ? walk->levels[0].name : NULL;
    return err_set(walk->err, code, "%s: %s", dir_path_text(walk->dir, top, where), why);
}

static bool is_cancelled(const struct walk *walk)
{
    return walk->cancelled && atomic_load(walk->cancelled);
}

/* --- the walk -------------------------------------------------------------------------------- */

static int names_add(struct names *names, const char *name)
{
    if (names->n == names->capacity) {
        size_t capacity = names->capacity ? 2 * names->capacity : 8;
        char **list = FAULT("file.memory") ? NULL : realloc(names->list, capacity * sizeof *list);
        if (!list)
            return -1;
        names->list = list;
        names->capacity = capacity;
    }
    char *copy = FAULT("file.memory") ? NULL : strdup(name);
    if (!copy)
        return -1;
    names->list[names->n++] = copy;
    return 0;
}

static void level_free(struct level *level)
{
    for (size_t i = 0; i < level->folders.n; i++)
        free(level->folders.list[i]);
    free(level->folders.list);
    free(level->name);
}

/* Reads the folder we are in: visits its entries, keeps its sub-folders for later. */
static int scan(struct walk *walk)
{
    struct level *level = &walk->levels[walk->depth - 1];
    DIR *stream = call_opendir(walk->fd);
    if (!stream) {
        note(walk, NULL, errno);
        return 0;
    }
    int status = 0;
    struct dirent *entry;
    while (status == 0 && (entry = call_readdir(stream))) {
        if (is_cancelled(walk))
            status = stop(walk, ERR_TASK_CANCELLED, "cancelled");
        else if (walk->visit(walk, entry->d_name, entry->d_type) &&
                 names_add(&level->folders, entry->d_name) == -1)
            status = stop(walk, ERR_NO_MEMORY, "no memory for its names");
    }
    if (status == 0 && errno != 0)
        note(walk, NULL, errno);
    closedir(stream);
    return status;
}

/* Opens a folder without following a link. When we remove, its owner gets all rights on it first. */
static int open_folder(const struct walk *walk, int parent_fd, const char *name)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
    int fd = call_openat(parent_fd, name, flags, 0);
    if (fd == -1 && errno == EACCES && walk->removing &&
        CALL("file.chmod", EIO, fchmodat(parent_fd, name, 0700, AT_SYMLINK_NOFOLLOW)) == 0)
        fd = call_openat(parent_fd, name, flags, 0);
    return fd;
}

static int push(struct walk *walk, const char *name, ino_t inode)
{
    if (walk->depth == walk->capacity) {
        size_t capacity = walk->capacity ? 2 * walk->capacity : 16;
        struct level *levels = FAULT("file.memory") ? NULL : realloc(walk->levels, capacity * sizeof *levels);
        if (!levels)
            return -1;
        walk->levels = levels;
        walk->capacity = capacity;
    }
    char *copy = FAULT("file.memory") ? NULL : strdup(name);
    if (!copy)
        return -1;
    walk->levels[walk->depth++] = (struct level){.name = copy, .inode = inode};
    return 0;
}

/* Enters a sub-folder of the one we are in (of the parent, at the top). What cannot be entered is noted. */
static int descend(struct walk *walk, const char *name)
{
    int fd = open_folder(walk, walk->depth ? walk->fd : walk->dir->fd, name);
    if (fd == -1) {
        /* Gone, or no folder any more: if it still stands there, removing its parent will tell. */
        if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP)
            note(walk, name, errno);
        return 0;
    }
    struct stat st;
    int sys = call_fstat(fd, &st) == -1 ? errno : 0;
    if (sys == 0 && walk->depth == 0)
        walk->device = st.st_dev;
    if (sys == 0 && st.st_dev != walk->device)
        sys = EXDEV;
    if (sys == 0 && walk->removing && (st.st_mode & 0700) != 0700)
        sys = CALL("file.chmod", EIO, fchmod(fd, 0700)) == -1 ? errno : 0;
    if (sys != 0) {
        close(fd);
        note(walk, name, sys);
        return 0;
    }
    if (push(walk, name, st.st_ino) == -1) {
        close(fd);
        return stop(walk, ERR_NO_MEMORY, "no memory for its names");
    }
    if (walk->fd != -1)
        close(walk->fd);
    walk->fd = fd;
    return scan(walk);
}

/* Removes the sub-folder we came from. When somebody has put something into it meanwhile, or something else
 * in its place, it is walked again. */
static void remove_left(struct walk *walk, struct level *left)
{
    struct level *above = walk->depth ? &walk->levels[walk->depth - 1] : NULL;
    if (left->failed) {
        if (above)
            above->failed = true;
        return;
    }
    int parent_fd = above ? walk->fd : walk->dir->fd;
    if (call_unlinkat(parent_fd, left->name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return;
    int sys = errno;
    bool again = (sys == ENOTEMPTY || sys == ENOTDIR) && above && above->rescans++ < RESCANS;
    if (!again || names_add(&above->folders, left->name) == -1)
        note(walk, left->name, sys);
}

/* Leaves the folder we are in. */
static int ascend(struct walk *walk)
{
    int above_fd = -1;
    if (walk->depth > 1) {
        struct stat st;
        above_fd = call_openat(walk->fd, "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        bool known = above_fd != -1 && call_fstat(above_fd, &st) == 0 && st.st_dev == walk->device &&
                     st.st_ino == walk->levels[walk->depth - 2].inode;
        if (!known) {
            if (above_fd != -1)
                close(above_fd);
            return stop(walk, ERR_FILE_IO, "a folder in it was moved away while it was walked");
        }
    }
    close(walk->fd);
    walk->fd = above_fd;
    struct level left = walk->levels[--walk->depth];
    if (walk->removing)
        remove_left(walk, &left);
    level_free(&left);
    return 0;
}

/* Walks everything in the folder `name` of walk->dir. 0 also when something was noted. */
static int walk_folder(struct walk *walk, const char *name)
{
    walk->fd = -1;
    int status = descend(walk, name);
    while (status == 0 && walk->depth > 0) {
        struct level *level = &walk->levels[walk->depth - 1];
        if (level->folders.n == 0) {
            status = ascend(walk);
            continue;
        }
        char *next = level->folders.list[--level->folders.n];
        status = is_cancelled(walk) ? stop(walk, ERR_TASK_CANCELLED, "cancelled") : descend(walk, next);
        free(next);
    }
    while (walk->depth > 0)
        level_free(&walk->levels[--walk->depth]);
    if (walk->fd != -1)
        close(walk->fd);
    free(walk->levels);
    return status;
}

/* "x/." would walk through a link x. */
static int check_top(const struct dir *dir, const char *name, struct err *err)
{
    if (dir_check_name(dir, name, err) == -1)
        return -1;
    const char *slash = strrchr(name, '/');
    const char *last = slash ? slash + 1 : name;
    char where[DIR_PATH_TEXT];
    if (strcmp(last, ".") == 0 || strcmp(last, "..") == 0 || !*last)
        return err_set(err, ERR_FILE_BAD_NAME, "%s: name the folder itself", dir_path_text(dir, name, where));
    return 0;
}

/* --- removing -------------------------------------------------------------------------------- */

static bool remove_entry(struct walk *walk, const char *name, unsigned char type)
{
    int parent_fd = walk->depth ? walk->fd : walk->dir->fd;
    if (type == DT_DIR)
        return true;
    if (call_unlinkat(parent_fd, name, 0) == 0 || errno == ENOENT)
        return false;
    int sys = errno;
    struct stat st;
    if (call_fstatat(parent_fd, name, &st) == 0 && S_ISDIR(st.st_mode))
        return true;
    note(walk, name, sys);
    return false;
}

int tree_remove(const struct dir *dir, const char *name, const atomic_bool *cancelled, struct err *err)
{
    if (check_top(dir, name, err) == -1)
        return -1;
    for (unsigned rounds = 0;; rounds++) {
        struct err failure;
        struct walk walk = {.dir = dir, .cancelled = cancelled, .err = &failure, .visit = remove_entry};
        walk.removing = true;
        int status = 0;
        if (remove_entry(&walk, name, DT_UNKNOWN))
            status = walk_folder(&walk, name);
        if (status == 0 && walk.failures == 0)
            return 0;
        bool busy = status == 0 && walk.failures == 1 &&
                    (failure.code == ERR_FILE_NOT_EMPTY || failure.code == ERR_FILE_NOT_DIRECTORY);
        if (busy && rounds < RESCANS)
            continue;
        if (err)
            *err = failure;
        return -1;
    }
}

/* --- measuring ------------------------------------------------------------------------------- */

/* Files with more than one name: counted at the end, each once. */
struct linked {
    dev_t device;
    ino_t inode;
    uint64_t bytes;
};

struct measure {
    struct tree_size size;
    struct linked *linked;
    size_t n, capacity;
    bool no_memory;
};

static void add_linked(struct measure *measure, const struct stat *st, uint64_t bytes)
{
    if (measure->n == measure->capacity) {
        size_t capacity = measure->capacity ? 2 * measure->capacity : 64;
        struct linked *linked =
            FAULT("file.memory") ? NULL : realloc(measure->linked, capacity * sizeof *linked);
        if (!linked) {
            measure->no_memory = true;
            return;
        }
        measure->linked = linked;
        measure->capacity = capacity;
    }
    measure->linked[measure->n++] = (struct linked){st->st_dev, st->st_ino, bytes};
}

static bool measure_entry(struct walk *walk, const char *name, unsigned char type)
{
    (void)type;
    struct stat st;
    if (call_fstatat(walk->depth ? walk->fd : walk->dir->fd, name, &st) == -1) {
        if (errno == ENOENT)
            return false;
        note(walk, name, errno);
        return false;
    }
    struct measure *measure = walk->measure;
    uint64_t bytes = (uint64_t)st.st_blocks * 512;
    measure->size.entries++;
    if (!S_ISDIR(st.st_mode) && st.st_nlink > 1)
        add_linked(measure, &st, bytes);
    else
        measure->size.bytes += bytes;
    return S_ISDIR(st.st_mode);
}

static int by_inode(const void *a, const void *b)
{
    const struct linked *one = a, *other = b;
    if (one->device != other->device)
        return one->device < other->device ? -1 : 1;
    return one->inode < other->inode ? -1 : one->inode > other->inode;
}

static uint64_t linked_bytes(struct measure *measure)
{
    uint64_t bytes = 0;
    if (measure->n > 1)
        qsort(measure->linked, measure->n, sizeof *measure->linked, by_inode);
    for (size_t i = 0; i < measure->n; i++) {
        if (i == 0 || by_inode(&measure->linked[i - 1], &measure->linked[i]) != 0)
            bytes += measure->linked[i].bytes;
    }
    return bytes;
}

int tree_measure(const struct dir *dir, const char *name, const atomic_bool *cancelled, struct tree_size *out,
                 struct err *err)
{
    if (check_top(dir, name, err) == -1)
        return -1;
    struct file_stat top;
    if (dir_stat(dir, name, &top, err) == -1)
        return -1;
    struct measure measure = {0};
    struct err failure;
    struct walk walk = {.dir = dir, .cancelled = cancelled, .err = &failure, .visit = measure_entry};
    walk.measure = &measure;
    int status = 0;
    if (measure_entry(&walk, name, DT_UNKNOWN))
        status = walk_folder(&walk, name);
    if (status == 0 && measure.no_memory)
        status = err_set(&failure, ERR_NO_MEMORY, "no memory to measure %s", name);
    measure.size.bytes += linked_bytes(&measure);
    measure.size.unread = walk.failures;
    free(measure.linked);
    *out = measure.size;
    if (status == -1 && err)
        *err = failure;
    return status;
}
