/* Judges what an archive asks for, before anything is written: names, kinds, limits. Pure; any thread. */
#ifndef MOONRUNNER_ARCHIVE_GUARD_H
#define MOONRUNNER_ARCHIVE_GUARD_H

#include <limits.h>
#include <stdint.h>

#include "archive/archive.h"

enum entry_kind {
    ENTRY_FILE,
    ENTRY_FOLDER,
    ENTRY_LINK,      /* a symlink */
    ENTRY_HARD_LINK, /* to an earlier file of the same archive */
    ENTRY_OTHER      /* devices, FIFOs, sockets, and whatever else is none of the above */
};

/* Sets archive.unsafe_entry: "entry 'NAME' WHY", and returns -1. */
int guard_unsafe(struct err *err, const char *name, const char *why);

/* Turns the name of an entry into a path below the target: no `.`, no empty component, no slash at the end;
 * "" is the target itself. -1 (archive.unsafe_entry): absolute, `..`, no name at all, longer or deeper than
 * we take. */
int guard_name(const char *name, char path[PATH_MAX], struct err *err);

/* May this entry be written? Fills path as guard_name does, and for a hard link target_path too. A symlink
 * may point anywhere: it is kept and never followed. NULL names are refused like empty ones. */
int guard_entry(enum entry_kind kind, const char *name, const char *target, char path[PATH_MAX],
                char target_path[PATH_MAX], struct err *err);

/* How far the reading is. */
struct guard_progress {
    uint64_t packed;   /* bytes taken from the pipe */
    uint64_t stream;   /* bytes after decompression, headers and padding included */
    uint64_t unpacked; /* bytes of files */
    uint64_t entries;  /* made, or asked for */
};

/* archive.too_big, archive.too_many, archive.ratio. */
int guard_progress(const struct archive_limits *limits, const struct guard_progress *progress,
                   struct err *err);

/* A name as it may stand in a message: control characters become `?`, and a long one is cut. Returns out. */
#define GUARD_SHOWN 160
const char *guard_shown(const char *name, char out[GUARD_SHOWN]);

#endif
