/* The folder beside the target into which an archive is unpacked: every name is walked component by
 * component, and no link is ever followed. One thread at a time. Paths are those of guard_name. */
#ifndef MOONRUNNER_ARCHIVE_STAGE_H
#define MOONRUNNER_ARCHIVE_STAGE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/err.h"

struct stage_folder;

struct stage {
    int parent;              /* the folder in which the target will stand */
    char base[NAME_MAX + 1]; /* the target's name in it */
    char part[NAME_MAX + 1]; /* our name in it until then */
    int root;                /* the folder beside */
    int last;                /* the folder of the last entry, open; -1: none */
    char last_path[PATH_MAX];
    uint64_t made;                /* how many files, links and folders were made */
    struct stage_folder *folders; /* modes and times, set at the end */
    size_t folder_count, folder_room, folder_text;
};

/* When a mode and a time are known. has_time false: the time of unpacking stays. */
struct stage_meta {
    mode_t mode; /* & 0777; u+rw is added, for folders u+rwx */
    bool has_time;
    struct timespec time;
};

/* -1: nothing was left behind, and stage_discard must not be called. */
int stage_open(struct stage *, int dir_fd, const char *name, struct err *err);
int stage_folder(struct stage *, const char *path, const struct stage_meta *, struct err *err);
/* Returns the descriptor of a new, empty file, to be given to stage_file_end. */
int stage_file(struct stage *, const char *path, struct err *err);
/* Sets mode and time and closes fd, also on failure. */
int stage_file_end(int fd, const char *path, const struct stage_meta *, struct err *err);
int stage_link(struct stage *, const char *path, const char *target, const struct stage_meta *,
               struct err *err);
int stage_hard_link(struct stage *, const char *path, const char *target_path, struct err *err);

/* Renames the folder to the target, or, with only_file, that one file in it. -1: the target is as it was;
 * then, as after any other failure, stage_discard ends it. After 0 the stage is over. */
int stage_finish(struct stage *, const char *only_file, struct err *err);
void stage_discard(struct stage *);

#endif
