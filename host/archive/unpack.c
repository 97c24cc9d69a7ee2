/* Unpacks a stream: libarchive reads it, the guard judges each entry, the stage writes it. */
#include "archive/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/guard.h"
#include "archive/stage.h"
#include "base/fault.h"
#include "base/pipe.h"
#include "base/sha256.h"

/* The stream as libarchive reads it. An error of our own in its callback waits in `err`, because libarchive
 * would only say that reading failed. */
struct source {
    struct pipe *pipe;
    struct sha256 *digest;
    struct archive *reader;
    const struct archive_limits *limits;
    struct guard_progress progress;
    const void *first; /* the first block, looked at before libarchive starts; then NULL */
    ssize_t first_size;
    bool failed;
    struct err err;
};

struct unpacking {
    struct source source;
    struct stage stage;
    uint64_t entries, files_bytes;
    bool only_file; /* so far the archive is the single file `first_path` */
    char first_path[PATH_MAX];
};

static ssize_t next_block(struct source *source, const void **data, struct err *err)
{
    if (FAULT("archive.read"))
        return err_set(err, ERR_FAULT, "archive.read: injected fault");
    ssize_t size = pipe_read(source->pipe, data, err);
    if (size > 0) {
        sha256_update(source->digest, *data, (size_t)size);
        source->progress.packed += (uint64_t)size;
    }
    return size;
}

static int check_progress(struct source *source, struct err *err)
{
    la_int64_t stream = archive_filter_bytes(source->reader, 0);
    source->progress.stream = stream > 0 ? (uint64_t)stream : 0;
    return guard_progress(source->limits, &source->progress, err);
}

/* libarchive's read callback. The limits are kept here too: it passes over data that it never shows to us. */
static la_ssize_t read_block(struct archive *reader, void *arg, const void **data)
{
    struct source *source = arg;
    ssize_t size = source->first_size;
    *data = source->first;
    source->first = NULL;
    if (!*data)
        size = check_progress(source, &source->err) ? -1 : next_block(source, data, &source->err);
    if (size >= 0)
        return size;
    source->failed = true;
    archive_set_error(reader, EIO, "%s", source->err.message);
    return ARCHIVE_FATAL;
}

static int corrupt(struct source *source, struct err *err)
{
    if (source->failed) {
        *err = source->err;
        return -1;
    }
    char shown[GUARD_SHOWN];
    const char *text = archive_error_string(source->reader);
    return err_set(err, ERR_ARCHIVE_CORRUPT, "%s",
                   text ? guard_shown(text, shown) : "the archive is not readable");
}

static int start_reader(struct source *source, struct err *err)
{
    struct archive *reader = source->reader = FAULT("archive.memory") ? NULL : archive_read_new();
    if (!reader)
        return err_set(err, ERR_NO_MEMORY, "out of memory for an archive");
    if (archive_read_support_filter_gzip(reader) || archive_read_support_filter_bzip2(reader) ||
        archive_read_support_filter_xz(reader) || archive_read_support_filter_zstd(reader) ||
        archive_read_support_format_tar(reader) || archive_read_support_format_zip_streamable(reader))
        return err_set(err, ERR_INTERNAL, "libarchive lacks a format: %s", archive_error_string(reader));
    if (archive_read_open(reader, source, NULL, read_block, NULL) != ARCHIVE_OK)
        return corrupt(source, err);
    return 0;
}

static enum entry_kind kind_of(struct archive_entry *entry)
{
    if (archive_entry_hardlink(entry))
        return ENTRY_HARD_LINK;
    switch (archive_entry_filetype(entry)) {
    case AE_IFREG:
        return ENTRY_FILE;
    case AE_IFDIR:
        return ENTRY_FOLDER;
    case AE_IFLNK:
        return ENTRY_LINK;
    default:
        return ENTRY_OTHER;
    }
}

static int write_all(int fd, const char *data, size_t size, off_t offset)
{
    while (size > 0) {
        ssize_t n = FAULT("archive.write") ? (errno = EIO, -1) : pwrite(fd, data, size, offset);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0) {
            data += n;
            size -= (size_t)n;
            offset += n;
        }
    }
    return 0;
}

/* The file is going to be `size` bytes long, if the limits allow it. */
static int check_size(struct unpacking *unpacking, la_int64_t size, struct err *err)
{
    struct source *source = &unpacking->source;
    if (size < 0)
        return err_set(err, ERR_ARCHIVE_CORRUPT, "a file of negative size");
    source->progress.unpacked = unpacking->files_bytes + (uint64_t)size;
    return check_progress(source, err);
}

/* Writes the data blocks where they belong: what is between them is a hole. */
static int write_data(struct unpacking *unpacking, struct archive_entry *entry, int fd, const char *path,
                      struct err *err)
{
    struct source *source = &unpacking->source;
    la_int64_t length = 0;
    char shown[GUARD_SHOWN];
    for (;;) {
        const void *data;
        size_t size;
        la_int64_t offset;
        int r = archive_read_data_block(source->reader, &data, &size, &offset);
        if (r == ARCHIVE_EOF)
            break;
        if (r != ARCHIVE_OK)
            return corrupt(source, err);
        if (offset + (la_int64_t)size > length)
            length = offset + (la_int64_t)size;
        if (check_size(unpacking, length, err))
            return -1;
        if (write_all(fd, data, size, offset))
            return err_set_file(err, errno, "unpacking '%s'", guard_shown(path, shown));
    }
    if (archive_entry_size_is_set(entry) && archive_entry_size(entry) > length) {
        length = archive_entry_size(entry);
        if (check_size(unpacking, length, err))
            return -1;
    }
    if (FAULT("archive.write") ? (errno = EIO, true) : ftruncate(fd, length) != 0)
        return err_set_file(err, errno, "unpacking '%s'", guard_shown(path, shown));
    unpacking->files_bytes += (uint64_t)length;
    return 0;
}

static int write_file(struct unpacking *unpacking, struct archive_entry *entry, const char *path,
                      const struct stage_meta *meta, struct err *err)
{
    /* What will be too big at the end is refused before it is written. */
    if (archive_entry_size_is_set(entry) && check_size(unpacking, archive_entry_size(entry), err))
        return -1;
    int fd = stage_file(&unpacking->stage, path, err);
    if (fd < 0)
        return -1;
    if (write_data(unpacking, entry, fd, path, err)) {
        close(fd);
        return -1;
    }
    return stage_file_end(fd, path, meta, err);
}

static int write_entry(struct unpacking *unpacking, struct archive_entry *entry, struct err *err)
{
    char path[PATH_MAX], target_path[PATH_MAX];
    enum entry_kind kind = kind_of(entry);
    const char *name = archive_entry_pathname(entry);
    const char *target = kind == ENTRY_LINK ? archive_entry_symlink(entry) : archive_entry_hardlink(entry);
    if (guard_entry(kind, name, target, path, target_path, err))
        return -1;
    unpacking->only_file = unpacking->entries == 1 && kind == ENTRY_FILE && !strncmp(name, "./", 2);
    if (unpacking->only_file)
        strcpy(unpacking->first_path, path);
    struct stage_meta meta = {.mode = archive_entry_perm(entry),
                              .has_time = archive_entry_mtime_is_set(entry)};
    long nanoseconds = archive_entry_mtime_nsec(entry);
    meta.time.tv_sec = archive_entry_mtime(entry);
    meta.time.tv_nsec = nanoseconds >= 0 && nanoseconds < 1000000000 ? nanoseconds : 0;
    switch (kind) {
    case ENTRY_FOLDER:
        return stage_folder(&unpacking->stage, path, &meta, err);
    case ENTRY_LINK:
        return stage_link(&unpacking->stage, path, target, &meta, err);
    case ENTRY_HARD_LINK:
        return stage_hard_link(&unpacking->stage, path, target_path, err);
    default:
        return write_file(unpacking, entry, path, &meta, err);
    }
}

/* libarchive takes a tar for complete when the stream stops between two entries. We know better: there is
 * always an end mark, and a stream without one was cut off. */
static int check_end(struct source *source, struct err *err)
{
    bool tar = (archive_format(source->reader) & ARCHIVE_FORMAT_BASE_MASK) == ARCHIVE_FORMAT_TAR;
    if (tar && archive_filter_bytes(source->reader, 0) <= archive_read_header_position(source->reader))
        return err_set(err, ERR_ARCHIVE_CORRUPT, "Truncated tar archive: it has no end mark");
    return 0;
}

static int write_entries(struct unpacking *unpacking, struct err *err)
{
    struct source *source = &unpacking->source;
    for (;;) {
        struct archive_entry *entry;
        int r = archive_read_next_header(source->reader, &entry);
        if (r == ARCHIVE_EOF)
            return check_end(source, err);
        /* Warnings are about attributes and character sets, which we do not use. */
        if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
            return corrupt(source, err);
        unpacking->entries++;
        uint64_t made = unpacking->stage.made;
        source->progress.entries = unpacking->entries > made ? unpacking->entries : made;
        if (check_progress(source, err) || write_entry(unpacking, entry, err))
            return -1;
    }
}

/* The bytes behind the archive belong to the digest. */
static int read_rest(struct source *source, struct err *err)
{
    const void *data;
    ssize_t size;
    while ((size = next_block(source, &data, err)) > 0)
        ;
    return size < 0 ? -1 : 0;
}

/* The character set in which libarchive hands out names. In the C locale a tar's names come through as they
 * are; in a UTF-8 locale they would be composed. A zip's UTF-8 names come through only in a UTF-8 locale. */
static locale_t locale_for(const struct source *source)
{
    bool zip = source->first_size >= 2 && !memcmp(source->first, "PK", 2);
    locale_t locale = zip ? newlocale(LC_ALL_MASK, "C.UTF-8", NULL) : NULL;
    return locale ? locale : newlocale(LC_ALL_MASK, "C", NULL);
}

static int unpack(struct unpacking *unpacking, struct err *err)
{
    struct source *source = &unpacking->source;
    source->first_size = next_block(source, &source->first, err);
    if (source->first_size < 0)
        return -1;
    if (source->first_size == 0)
        return err_set(err, ERR_ARCHIVE_CORRUPT, "the archive is empty: not even an end mark");
    locale_t ours = locale_for(source);
    if (!ours)
        return err_set(err, ERR_NO_MEMORY, "out of memory for an archive");
    locale_t before = uselocale(ours);
    int status = start_reader(source, err);
    if (!status)
        status = write_entries(unpacking, err);
    archive_read_free(source->reader);
    uselocale(before);
    freelocale(ours);
    if (!status)
        status = read_rest(source, err);
    return status;
}

int archive_unpack(struct pipe *in, int dir_fd, const char *name, const struct archive_limits *limits,
                   struct archive_result *result, struct err *err)
{
    struct unpacking unpacking = {.source = {.pipe = in, .limits = limits}};
    *result = (struct archive_result){0};
    int status = -1;
    bool staged = false;
    unpacking.source.digest = FAULT("archive.memory") ? NULL : sha256_create();
    if (!unpacking.source.digest)
        err_set(err, ERR_NO_MEMORY, "out of memory for a digest");
    else
        staged = !stage_open(&unpacking.stage, dir_fd, name, err);
    if (staged)
        status = unpack(&unpacking, err);
    if (!status)
        status = stage_finish(&unpacking.stage, unpacking.only_file ? unpacking.first_path : NULL, err);
    if (status) {
        if (staged)
            stage_discard(&unpacking.stage);
        sha256_abandon(unpacking.source.digest);
        pipe_abort(in, err);
        return -1;
    }
    *result = (struct archive_result){.bytes_packed = unpacking.source.progress.packed,
                                      .bytes_unpacked = unpacking.files_bytes,
                                      .entries = unpacking.entries,
                                      .single_file = unpacking.only_file};
    sha256_finish(unpacking.source.digest, result->sha256);
    return 0;
}
