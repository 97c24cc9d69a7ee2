/* Trees in and out of byte streams: what a runner fetches and what it brings back.
 *
 * Everything here blocks: worker threads only. No Lua, no network; streams meet in base/pipe. The archives
 * come from strangers, and a tree that is packed is still written to by a job: neither is trusted. `err` is
 * never NULL here. */
#ifndef MOONRUNNER_ARCHIVE_ARCHIVE_H
#define MOONRUNNER_ARCHIVE_ARCHIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct pipe;

/* Deepest tree that is packed or unpacked; both keep one open folder a level at most. */
#define ARCHIVE_MAX_DEPTH 128

/* 0 means no limit. */
struct archive_limits {
    uint64_t max_bytes;   /* of all files together, holes included */
    uint64_t max_entries; /* files, links and folders, also those that are only implied by a longer name. (64
                             MiB of folder names are too many without any limit.) */
    unsigned max_ratio;   /* uncompressed over packed bytes; not looked at below ARCHIVE_RATIO_FLOOR */
};
#define ARCHIVE_RATIO_FLOOR (UINT64_C(16) << 20)

struct archive_result {
    uint64_t bytes_packed;    /* what went through the pipe */
    uint64_t bytes_unpacked;  /* of all files together */
    uint64_t entries;         /* in the archive */
    uint64_t skipped;         /* packing: what the archive lacks or holds cut short */
    unsigned char sha256[32]; /* of what went through the pipe */
    bool single_file;
};

/* Reads `in` to its real end (bytes behind the archive count in the digest) and unpacks it as `name` below
 * dir_fd. Format by content: tar, plain or in gzip, bzip2, xz or zstd; zip.
 *
 * - Written into `<name>.part-<random>` beside it and renamed at the end: on -1 nothing is left. What `name`
 * was before is replaced when it is a file, a link or an empty folder; file.not_empty otherwise.
 * - An archive of exactly one entry, a regular file whose name begins with `./`, becomes a file; all else a
 * folder (also an archive that holds nothing but its end mark; an input of no bytes at all is corrupt).
 * - Nothing is written outside, and nothing through a link: archive.unsafe_entry names the entry that tried.
 * Links are kept as they are, hard links only to files of the same archive, devices, FIFOs and sockets are
 * refused. Of a file or link named twice the later one stays.
 * - Modes & 0777, and at least u+rw (folders u+rwx); times of files, links and folders; no owners.
 * - Names are bytes and stay as they are, but for zip's UTF-8 names, which libarchive composes (NFC). A zip
 * is read as a stream: its symlinks, which only the directory at its end knows, come out as files.
 *
 * `name` may have folders in front, which exist; none may be a link (unless dir_fd is AT_FDCWD).
 * On -1 the pipe has been aborted with the same error. Codes: archive.unsafe_entry .too_big .too_many .ratio
 * .corrupt (also: truncated), file.*, or what the writer aborted the pipe with. */
int archive_unpack(struct pipe *in, int dir_fd, const char *name, const struct archive_limits *limits,
                   struct archive_result *result, struct err *err);

struct archive_pack_options {
    /* true: leave it out (not counted as skipped), a folder with all that is in it. NULL: nothing is left
     * out. */
    bool (*skip)(const char *relative, bool is_folder, void *arg);
    void *arg;
    int64_t
        mtime_floor;    /* ms: a single file's time is at least this, rounded up to the tar's whole seconds */
    uint64_t max_bytes; /* of all files together; archive.too_big. 0: no limit */
};

/* Writes `name` below dir_fd as a tar into `out` and closes it. A folder: its children by bare names, sorted
 * by bytes. A file: exactly one entry `./<its last name>`. Owners are 0, times whole seconds.
 *
 * Links are stored, never followed. What goes wrong with one file costs that file alone and is counted in
 * `skipped`: vanished, unreadable, no file, folder or link, too deep: left out; shrunk or unreadable half
 * way: filled with zeros. Of a file that grows, its first size is stored. `name` itself: file.not_found,
 * file.not_regular for a link. On -1 the pipe has been aborted with the same error. */
int archive_pack(int dir_fd, const char *name, const struct archive_pack_options *options, struct pipe *out,
                 struct archive_result *result, struct err *err);

/* The two ends that are files. On -1 the pipe has been aborted with the same error.
 * feed: reads the regular file `name` into the pipe. keep: writes what comes into `<name>.part-<random>`, and
 * renames it when the stream has ended well; else removes it. */
int archive_feed_file(int dir_fd, const char *name, struct pipe *out, struct err *err);
int archive_keep_file(struct pipe *in, int dir_fd, const char *name, struct err *err);

#endif
