/* Packs a tree as a tar: walks it without following a link, and lets one bad file cost no other. */
#include "archive/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/beside.h"
#include "archive/guard.h"
#include "base/buffer.h"
#include "base/fault.h"
#include "base/pipe.h"
#include "base/sha256.h"

#define STREAM_BLOCK (1 << 20) /* what goes through the pipe at once */
#define FILE_BLOCK (256 << 10) /* what is read of a file at once */
#define TAR_RECORD (20 * 512)  /* a tar ends at a multiple of this */
#define OPEN_FOLDER (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define OPEN_FILE (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

/* Functions below return 0 to go on and -1 to stop the whole; err is in here. */
struct packing {
    struct archive *writer;
    struct archive_entry *entry;
    struct pipe *out;
    struct sha256 *digest;
    const struct archive_pack_options *options;
    struct archive_result *result;
    struct buffer path; /* of the entry at hand, as it stands in the archive */
    char *block;
    struct err *err;
    bool failed; /* `err` is set; nothing more goes into the pipe */
};

struct names {
    char **list;
    size_t count, room;
};

static int pack_folder(struct packing *packing, int fd, unsigned depth);

static int no_memory(struct packing *packing)
{
    return err_set(packing->err, ERR_NO_MEMORY, "out of memory for an archive");
}

/* After a failed call on one file: it is left out, unless the failure is ours and would hit the others too.
 */
static int leave_out(struct packing *packing, int sys)
{
    if (sys == EMFILE || sys == ENFILE || sys == ENOMEM) {
        char shown[GUARD_SHOWN];
        return err_set_file(packing->err, sys, "packing '%s'", guard_shown(packing->path.data, shown));
    }
    packing->result->skipped++;
    return 0;
}

/* After a failure of the pipe what still comes is dropped: libarchive may close the writer then, and must. */
static la_ssize_t write_block(struct archive *writer, void *arg, const void *data, size_t size)
{
    struct packing *packing = arg;
    if (packing->failed)
        return (la_ssize_t)size;
    bool fault = FAULT("archive.write");
    if (fault)
        err_set(packing->err, ERR_FAULT, "archive.write: injected fault");
    if (fault || pipe_write(packing->out, data, size, packing->err)) {
        packing->failed = true;
        archive_set_error(writer, EPIPE, "%s", packing->err->message);
        return -1;
    }
    sha256_update(packing->digest, data, size);
    packing->result->bytes_packed += size;
    return (la_ssize_t)size;
}

static int writer_failed(struct packing *packing)
{
    if (packing->failed)
        return -1;
    const char *text = archive_error_string(packing->writer);
    return err_set(packing->err, ERR_INTERNAL, "packing failed: %s", text ? text : "no reason given");
}

/* Writes the header of the entry at hand. 1: libarchive can not store it; it is left out and counted. */
static int write_header(struct packing *packing, const struct stat *st, const char *link)
{
    struct archive_entry *entry = archive_entry_clear(packing->entry);
    archive_entry_copy_pathname(entry, packing->path.data);
    archive_entry_set_filetype(entry, st->st_mode & S_IFMT);
    archive_entry_set_perm(entry, st->st_mode & 0777);
    archive_entry_set_mtime(entry, st->st_mtim.tv_sec, 0);
    archive_entry_set_size(entry, S_ISREG(st->st_mode) ? st->st_size : 0);
    if (link)
        archive_entry_copy_symlink(entry, link);
    int r = archive_write_header(packing->writer, entry);
    if (r == ARCHIVE_FATAL)
        return writer_failed(packing);
    if (r < ARCHIVE_WARN) {
        packing->result->skipped++;
        return 1;
    }
    packing->result->entries++;
    return 0;
}

/* Exactly st_size bytes, whatever the file does meanwhile; libarchive fills what is missing with zeros. */
static int write_content(struct packing *packing, int fd, const struct stat *st)
{
    off_t left = st->st_size;
    while (left > 0) {
        size_t want = left < FILE_BLOCK ? (size_t)left : FILE_BLOCK;
        ssize_t n = FAULT("archive.read") ? (errno = EIO, -1) : read(fd, packing->block, want);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            packing->result->skipped++;
            break;
        }
        if (archive_write_data(packing->writer, packing->block, (size_t)n) < 0)
            return writer_failed(packing);
        left -= n;
    }
    if (archive_write_finish_entry(packing->writer) == ARCHIVE_FATAL)
        return writer_failed(packing);
    packing->result->bytes_unpacked += (uint64_t)st->st_size;
    return 0;
}

/* floor: ms, 0 = none. Closes fd. */
static int pack_open_file(struct packing *packing, int fd, int64_t floor)
{
    struct stat st;
    int status = 0;
    uint64_t limit = packing->options->max_bytes, before = packing->result->bytes_unpacked;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        packing->result->skipped++;
        goto out;
    }
    if (limit && ((uint64_t)st.st_size > limit || before > limit - (uint64_t)st.st_size)) {
        status = err_set(packing->err, ERR_ARCHIVE_TOO_BIG, "the files to be packed are more than %llu bytes",
                         (unsigned long long)limit);
        goto out;
    }
    /* Rounded up: a reader that compares it with a moment before the floor must find it later. */
    if (floor && (int64_t)st.st_mtim.tv_sec * 1000 < floor)
        st.st_mtim.tv_sec = (time_t)(floor / 1000 + (floor % 1000 > 0));
    status = write_header(packing, &st, NULL);
    if (!status)
        status = write_content(packing, fd, &st);
out:
    close(fd);
    return status < 0 ? -1 : 0;
}

static int pack_file(struct packing *packing, int dir_fd, const char *name)
{
    int fd = FAULT("archive.open") ? (errno = EACCES, -1) : openat(dir_fd, name, OPEN_FILE);
    return fd < 0 ? leave_out(packing, errno) : pack_open_file(packing, fd, 0);
}

static int pack_link(struct packing *packing, int dir_fd, const char *name, const struct stat *st)
{
    char target[PATH_MAX];
    ssize_t length =
        FAULT("archive.open") ? (errno = EACCES, -1) : readlinkat(dir_fd, name, target, sizeof target);
    if (length < 0 || length == sizeof target)
        return leave_out(packing, length < 0 ? errno : ENAMETOOLONG);
    target[length] = '\0';
    return write_header(packing, st, target) < 0 ? -1 : 0;
}

static int pack_subfolder(struct packing *packing, int dir_fd, const char *name, unsigned depth)
{
    struct stat st;
    if (depth >= ARCHIVE_MAX_DEPTH)
        return leave_out(packing, ELOOP);
    int fd = FAULT("archive.open") ? (errno = EACCES, -1) : openat(dir_fd, name, OPEN_FOLDER);
    /* One that can not be read is there all the same. */
    if (fd < 0 && errno == EACCES && !fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) &&
        S_ISDIR(st.st_mode) && write_header(packing, &st, NULL) < 0)
        return -1;
    if (fd < 0)
        return leave_out(packing, errno);
    int status = fstat(fd, &st) ? leave_out(packing, errno) : write_header(packing, &st, NULL);
    if (status) {
        close(fd);
        return status < 0 ? -1 : 0;
    }
    return pack_folder(packing, fd, depth + 1);
}

/* One child; packing->path is already its. */
static int pack_child(struct packing *packing, int dir_fd, const char *name, unsigned depth)
{
    struct stat st;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW))
        return leave_out(packing, errno);
    const struct archive_pack_options *options = packing->options;
    if (options->skip && options->skip(packing->path.data, S_ISDIR(st.st_mode), options->arg))
        return 0;
    switch (st.st_mode & S_IFMT) {
    case S_IFREG:
        return pack_file(packing, dir_fd, name);
    case S_IFDIR:
        return pack_subfolder(packing, dir_fd, name, depth);
    case S_IFLNK:
        return pack_link(packing, dir_fd, name, &st);
    default:
        packing->result->skipped++;
        return 0;
    }
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void free_names(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->list[i]);
    free(names->list);
}

static int add_name(struct names *names, const char *name)
{
    if (names->count == names->room) {
        size_t room = names->room ? names->room * 2 : 64;
        void *grown = realloc(names->list, room * sizeof *names->list);
        if (!grown)
            return -1;
        names->list = grown;
        names->room = room;
    }
    char *copy = strdup(name);
    if (!copy)
        return -1;
    names->list[names->count++] = copy;
    return 0;
}

/* The children's names, sorted by bytes. */
static int read_names(struct packing *packing, DIR *folder, struct names *names)
{
    struct dirent *child;
    while (errno = 0, (child = FAULT("archive.list") ? (errno = EIO, NULL) : readdir(folder))) {
        if (!strcmp(child->d_name, ".") || !strcmp(child->d_name, ".."))
            continue;
        if (add_name(names, child->d_name))
            return no_memory(packing);
    }
    if (errno && leave_out(packing, errno))
        return -1;
    if (names->count > 0)
        qsort(names->list, names->count, sizeof *names->list, compare_names);
    return 0;
}

/* Packs the children and closes fd. */
static int pack_folder(struct packing *packing, int fd, unsigned depth)
{
    DIR *folder = fdopendir(fd);
    if (!folder) {
        close(fd);
        return no_memory(packing);
    }
    struct names names = {0};
    int status = read_names(packing, folder, &names);
    size_t before = packing->path.size;
    for (size_t i = 0; !status && i < names.count; i++) {
        if ((before > 0 && buffer_add(&packing->path, "/", 1)) ||
            buffer_add_text(&packing->path, names.list[i]))
            status = no_memory(packing);
        else
            status = pack_child(packing, fd, names.list[i], depth);
        packing->path.size = before;
        packing->path.data[before] = '\0';
    }
    free_names(&names);
    closedir(folder);
    return status;
}

/* Opens what is to be packed; *base is its last name. "." is the folder of dir_fd itself. */
static int open_top(struct packing *packing, int dir_fd, const char *name, const char **base)
{
    int parent = -1, fd;
    bool self = !strcmp(name, ".");
    *base = name;
    if (!self && (parent = beside_open_parent(dir_fd, name, false, base, packing->err)) < 0)
        return -1;
    fd = FAULT("archive.open") ? (errno = EIO, -1) : openat(self ? dir_fd : parent, *base, OPEN_FILE);
    int sys = errno == ENXIO ? ELOOP : errno; /* a socket */
    if (parent >= 0)
        close(parent);
    return fd >= 0 ? fd : err_set_file(packing->err, sys, "%s", name);
}

/* What `name` is decides the form of the archive; it is opened once, and what was opened is what counts. */
static int pack_top(struct packing *packing, int dir_fd, const char *name)
{
    const char *base;
    struct stat st;
    int fd = open_top(packing, dir_fd, name, &base);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))) {
        close(fd);
        return err_set(packing->err, ERR_FILE_NOT_REGULAR, "%s: is neither a file nor a folder", name);
    }
    if (S_ISDIR(st.st_mode))
        return pack_folder(packing, fd, 0);
    packing->result->single_file = true;
    if (buffer_format(&packing->path, "./%s", base)) {
        close(fd);
        return no_memory(packing);
    }
    return pack_open_file(packing, fd, packing->options->mtime_floor);
}

static int start_writer(struct packing *packing)
{
    packing->block = malloc(FILE_BLOCK);
    packing->digest = sha256_create();
    packing->entry = archive_entry_new();
    packing->writer = FAULT("archive.memory") ? NULL : archive_write_new();
    if (!packing->block || !packing->digest || !packing->entry || !packing->writer)
        return no_memory(packing);
    /* GNU's variant of tar stores names as bytes; a pax header would have to translate them. */
    if (archive_write_set_format_gnutar(packing->writer) ||
        archive_write_set_bytes_per_block(packing->writer, STREAM_BLOCK) ||
        archive_write_set_bytes_in_last_block(packing->writer, TAR_RECORD) ||
        archive_write_open(packing->writer, packing, NULL, write_block, NULL))
        return writer_failed(packing);
    return buffer_reserve(&packing->path, 256) ? no_memory(packing) : 0;
}

/* An early end. Only closing frees the writer's block, and only a writer that has been told of the failure
 * does not fill up the file it was in. */
static void abandon_writer(struct packing *packing)
{
    if (!packing->writer)
        return;
    packing->failed = true;
    archive_write_fail(packing->writer);
    archive_write_close(packing->writer);
}

int archive_pack(int dir_fd, const char *name, const struct archive_pack_options *options, struct pipe *out,
                 struct archive_result *result, struct err *err)
{
    struct packing packing = {.out = out, .options = options, .result = result, .err = err};
    *result = (struct archive_result){0};
    int status = start_writer(&packing);
    if (!status)
        status = pack_top(&packing, dir_fd, name);
    if (!status && archive_write_close(packing.writer) != ARCHIVE_OK)
        status = writer_failed(&packing);
    if (!status) {
        sha256_finish(packing.digest, result->sha256);
        pipe_close(out);
    } else {
        abandon_writer(&packing);
        sha256_abandon(packing.digest);
        pipe_abort(out, err);
    }
    archive_write_free(packing.writer);
    archive_entry_free(packing.entry);
    buffer_free(&packing.path);
    free(packing.block);
    return status;
}
