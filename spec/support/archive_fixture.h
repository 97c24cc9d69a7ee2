/* What the archive tests and the fuzz target share: a scratch folder with a canary outside the target's
 * folder, tars written header by header (so that they can be as hostile as we like), and an unpack from
 * memory. */
#ifndef MOONRUNNER_SPEC_ARCHIVE_FIXTURE_H
#define MOONRUNNER_SPEC_ARCHIVE_FIXTURE_H

#include <archive.h>
#include <archive_entry.h>
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/archive.h"
#include "archive/beside.h"
#include "base/buffer.h"
#include "base/pipe.h"

#define CANARY "still alive"

/* <root>/in is where things are unpacked; <root>/outside/canary must never change. */
struct scratch {
    char root[64];
    int root_fd, in_fd;
};

static inline void scratch_write(int dir_fd, const char *name, const char *text)
{
    int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert(fd >= 0);
    assert(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

/* Up to 4 KiB of a file; a static buffer. NULL: no such file. */
static inline const char *scratch_read(int dir_fd, const char *name)
{
    static char text[4097];
    int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    ssize_t n = read(fd, text, sizeof text - 1);
    assert(n >= 0);
    text[n] = '\0';
    close(fd);
    return text;
}

static inline void scratch_open(struct scratch *scratch)
{
    strcpy(scratch->root, "/tmp/archive-spec-XXXXXX");
    assert(mkdtemp(scratch->root));
    scratch->root_fd = open(scratch->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert(scratch->root_fd >= 0);
    assert(!mkdirat(scratch->root_fd, "in", 0755) && !mkdirat(scratch->root_fd, "outside", 0755));
    scratch_write(scratch->root_fd, "outside/canary", CANARY);
    scratch->in_fd = openat(scratch->root_fd, "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert(scratch->in_fd >= 0);
}

static inline void scratch_close(struct scratch *scratch)
{
    close(scratch->in_fd);
    close(scratch->root_fd);
    beside_remove(AT_FDCWD, scratch->root);
}

/* How many names a folder holds. */
static inline int scratch_count(int dir_fd, const char *name)
{
    int count = 0, fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    assert(folder);
    for (struct dirent *child; (child = readdir(folder));)
        count += strcmp(child->d_name, ".") && strcmp(child->d_name, "..");
    closedir(folder);
    return count;
}

static inline int open_descriptors(void)
{
    return scratch_count(AT_FDCWD, "/proc/self/fd");
}

/* Nothing was touched outside. */
static inline int scratch_untouched(const struct scratch *scratch)
{
    struct stat st;
    const char *text = scratch_read(scratch->root_fd, "outside/canary");
    return text && !strcmp(text, CANARY) && scratch_count(scratch->root_fd, "outside") == 1 &&
           scratch_count(scratch->root_fd, ".") == 2 &&
           !fstatat(scratch->root_fd, "outside/canary", &st, 0) && st.st_nlink == 1 &&
           (st.st_mode & 0777) == 0644;
}

/* --- tars, header by header
 * ---------------------------------------------------------------------------------- */

struct tar_header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100], magic[6],
        version[2], owner[32], group[32], major[8], minor[8], prefix[155], unused[12];
};
_Static_assert(sizeof(struct tar_header) == 512, "a tar header is one block");

static inline void tar_sum(struct tar_header *header)
{
    unsigned sum = 0;
    memset(header->checksum, ' ', 8);
    for (size_t i = 0; i < 512; i++)
        sum += ((unsigned char *)header)[i];
    snprintf(header->checksum, 8, "%06o", sum & 0777777);
}

/* Names and links of exactly 100 bytes lose their NUL, as in tar. */
static inline void tar_put(struct buffer *tar, char type, const char *name, const char *link, unsigned mode,
                           long mtime, const void *data, size_t size)
{
    static const char zeros[512];
    struct tar_header header = {.type = type, .magic = "ustar", .version = {'0', '0'}};
    memcpy(header.name, name, strnlen(name, 100));
    memcpy(header.link, link, strnlen(link, 100));
    snprintf(header.mode, 8, "%07o", mode & 07777777);
    snprintf(header.uid, 8, "%07o", 0);
    snprintf(header.gid, 8, "%07o", 0);
    snprintf(header.size, 12, "%011lo", (unsigned long)size & 077777777777);
    snprintf(header.mtime, 12, "%011lo", (unsigned long)mtime & 077777777777);
    tar_sum(&header);
    assert(!buffer_add(tar, &header, 512));
    assert(!buffer_add(tar, data, size));
    assert(!buffer_add(tar, zeros, (512 - size % 512) % 512));
}

static inline void tar_file(struct buffer *tar, const char *name, const char *text)
{
    tar_put(tar, '0', name, "", 0644, 1000000000, text, strlen(text));
}

static inline void tar_folder(struct buffer *tar, const char *name)
{
    tar_put(tar, '5', name, "", 0755, 1000000000, "", 0);
}

static inline void tar_link(struct buffer *tar, const char *name, const char *target)
{
    tar_put(tar, '2', name, target, 0777, 1000000000, "", 0);
}

static inline void tar_hard_link(struct buffer *tar, const char *name, const char *target)
{
    tar_put(tar, '1', name, target, 0644, 1000000000, "", 0);
}

/* One pax record for the entry that follows. */
static inline void tar_pax(struct buffer *tar, const char *key, const void *value, size_t size)
{
    struct buffer record = BUFFER_EMPTY;
    size_t payload = 1 + strlen(key) + 1 + size + 1, total = payload;
    char digits[24];
    while ((size_t)snprintf(digits, sizeof digits, "%zu", total) + payload != total)
        total = payload + strlen(digits);
    assert(!buffer_format(&record, "%zu %s=", total, key) && !buffer_add(&record, value, size) &&
           !buffer_add(&record, "\n", 1));
    tar_put(tar, 'x', "pax", "", 0644, 0, record.data, record.size);
    buffer_free(&record);
}

static inline void tar_end(struct buffer *tar)
{
    static const char zeros[1024];
    assert(!buffer_add(tar, zeros, sizeof zeros));
}

/* --- through libarchive's writers
 * ----------------------------------------------------------------------------- */

static inline la_ssize_t fixture_append(struct archive *writer, void *arg, const void *data, size_t size)
{
    (void)writer;
    return buffer_add(arg, data, size) ? -1 : (la_ssize_t)size;
}

/* The bytes, compressed by one of libarchive's filters ("gzip", "bzip2", "xz", "zstd"). */
static inline struct buffer compressed(const struct buffer *plain, const char *filter)
{
    struct buffer out = BUFFER_EMPTY;
    struct archive *writer = archive_write_new();
    struct archive_entry *entry = archive_entry_new();
    archive_entry_set_pathname(entry, "data");
    archive_entry_set_filetype(entry, AE_IFREG);
    assert(!archive_write_set_format_raw(writer) && !archive_write_add_filter_by_name(writer, filter) &&
           !archive_write_set_bytes_per_block(writer, 0) &&
           !archive_write_open(writer, &out, NULL, fixture_append, NULL) &&
           !archive_write_header(writer, entry));
    assert(archive_write_data(writer, plain->data, plain->size) == (la_ssize_t)plain->size);
    assert(!archive_write_close(writer));
    archive_entry_free(entry);
    archive_write_free(writer);
    return out;
}

/* One more entry in a zip that zip_open began. */
static inline void zip_put(struct archive *writer, unsigned type, const char *name, const void *data,
                           size_t size)
{
    struct archive_entry *entry = archive_entry_new();
    archive_entry_copy_pathname(entry, name);
    archive_entry_set_filetype(entry, type);
    archive_entry_set_perm(entry, 0640);
    archive_entry_set_size(entry, (la_int64_t)size);
    archive_entry_set_mtime(entry, 1000000000, 0);
    assert(archive_write_header(writer, entry) >= ARCHIVE_WARN);
    assert(archive_write_data(writer, data, size) == (la_ssize_t)size);
    archive_entry_free(entry);
}

static inline struct archive *zip_open(struct buffer *out)
{
    struct archive *writer = archive_write_new();
    assert(!archive_write_set_format_zip(writer) && !archive_write_set_bytes_per_block(writer, 0) &&
           !archive_write_open(writer, out, NULL, fixture_append, NULL));
    return writer;
}

/* --- unpacking from memory
 * ----------------------------------------------------------------------------------- */

static inline int unpack_bytes(const struct buffer *bytes, int dir_fd, const char *name,
                               const struct archive_limits *limits, struct archive_result *result,
                               struct err *err)
{
    struct pipe *pipe = pipe_create(bytes->size + 1, err);
    assert(pipe);
    assert(!pipe_write(pipe, bytes->data, bytes->size, err));
    pipe_close(pipe);
    int status = archive_unpack(pipe, dir_fd, name, limits, result, err);
    pipe_destroy(pipe);
    return status;
}

#endif
