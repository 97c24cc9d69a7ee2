/* Directories as open handles, and what is done to the names in them without waiting for the disk's contents.
 *
 * Every name is relative to a handle, so that a folder that is moved or replaced meanwhile changes nothing. A
 * name may hold slashes ("a/b"): links in its middle are followed as the kernel does, the last component
 * never is, unless it is written "link/.". On a handle other than the root one a name can not be absolute nor
 * contain "..". Names are bytes; only "/" and NUL are special.
 *
 * All functions return 0, or -1 with err set: its message names the whole path. An error other than a bad
 * name comes from the kernel: file.not_found, file.gone (the directory itself was removed), file.exists,
 * file.denied, … Modes are subject to the umask, as with open(2). Any thread; one handle may be used by
 * several threads until it is closed. */
#ifndef MOONRUNNER_FILE_FILE_H
#define MOONRUNNER_FILE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/err.h"

struct dir {
    int fd;     /* -1: closed; AT_FDCWD: the root handle */
    char *path; /* what it was opened by, for messages; "" for the root handle */
};
#define DIR_CLOSED ((struct dir){.fd = -1})

enum file_kind { FILE_REGULAR, FILE_DIRECTORY, FILE_LINK, FILE_OTHER };

struct file_stat {
    enum file_kind kind;
    uint64_t size, inode, device, links;
    int64_t mtime_ms; /* since 1970, rounded down */
    unsigned mode;    /* permission bits, 07777 */
    unsigned uid;
};

struct dir_entry {
    char *name;
    struct file_stat stat;
};
struct dir_list {
    struct dir_entry *entries;
    size_t n, capacity;
};

/* The handle on which absolute names, and names relative to the working directory, work. */
int dir_open_root(struct dir *out, struct err *);
/* file.not_directory for anything else, a link to a directory included. On -1 *out is DIR_CLOSED. */
int dir_open(const struct dir *, const char *name, struct dir *out, struct err *);
/* A second handle on the same directory, to be closed on its own: for work on another thread. */
int dir_duplicate(const struct dir *, struct dir *out, struct err *);
/* Idempotent. */
void dir_close(struct dir *);

/* name NULL: the directory itself (links is 0 once it was removed). A link is not followed. */
int dir_stat(const struct dir *, const char *name, struct file_stat *out, struct err *);
/* Sorted by the bytes of the names, without "." and ".."; an entry that vanishes meanwhile is left out. *out
 * must be zeroed, and is the caller's to free, also after -1. */
int dir_list(const struct dir *, struct dir_list *out, struct err *);
void dir_list_free(struct dir_list *);

/* Replaces what is at to_name, as rename(2). */
int dir_rename(const struct dir *, const char *name, const struct dir *to, const char *to_name, struct err *);
/* file.exists when something is there. Where the file system knows no such rename, a file gets its new name
 * first and loses the old one then; a directory is refused. */
int dir_rename_exclusive(const struct dir *, const char *name, const struct dir *to, const char *to_name,
                         struct err *);
/* A hard link (to a symbolic link itself, where name is one). file.exists. */
int dir_link(const struct dir *, const char *name, const struct dir *to, const char *to_name, struct err *);
int dir_symlink(const struct dir *, const char *target, const char *name, struct err *);
/* The target and a NUL into out. */
int dir_readlink(const struct dir *, const char *name, char out[4096], struct err *);
int dir_unlink(const struct dir *, const char *name, struct err *);
int dir_mkdir(const struct dir *, const char *name, unsigned mode, struct err *);
/* With all parents; what is there already stays as it is. */
int dir_make_path(const struct dir *, const char *name, unsigned mode, struct err *);
int dir_rmdir(const struct dir *, const char *name, struct err *);
/* Sets the modification time of what is there, a link itself included; the access time stays. */
int dir_touch(const struct dir *, const char *name, int64_t mtime_ms, struct err *);
/* Exact, without the umask; file.not_regular for a link. */
int dir_chmod(const struct dir *, const char *name, unsigned mode, struct err *);

/* An exclusive flock on a file, made with mode 0600 if it is not there. file.locked when another holds it. It
 * is known to be the file that has the name now. Close-on-exec: a child never inherits it. Ends with
 * file_unlock or the process. */
int dir_lock(const struct dir *, const char *name, int *lock_fd, struct err *);
void file_unlock(int lock_fd);

/* For the other files of this folder. */

#define DIR_PATH_TEXT 400 /* of a path in a message: the reason needs room too */

/* "claims/work/x": where a name is, for people. A long one loses its middle. */
const char *dir_path_text(const struct dir *, const char *name, char out[DIR_PATH_TEXT]);
/* file.bad_name, or 0 when this handle takes that name. */
int dir_check_name(const struct dir *, const char *name, struct err *);
/* Fills err for a call that failed with errno `sys` on name (NULL: the directory itself). Returns -1. */
int dir_fail(const struct dir *, const char *name, int sys, struct err *);
/* The same for a call on two names. */
int dir_fail_pair(const struct dir *, const char *name, const struct dir *to, const char *to_name, int sys,
                  struct err *);
/* Opens a regular file without ever waiting (a FIFO, a device, a link is file.not_regular and is not opened).
 * O_CREAT in flags is allowed. Returns the descriptor; st is of what was opened. */
int dir_open_regular(const struct dir *, const char *name, int flags, unsigned mode, struct stat *st,
                     struct err *);

#endif
