/* Packing: what comes into the archive while a job still writes, and what never does. */
#include "../support/archive_unpacking.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/sha256.h"

static const struct archive_pack_options plain;

/* Packs into memory. The caller frees the bytes. */
static int pack_bytes(const char *name, const struct archive_pack_options *options, struct buffer *bytes,
                      struct archive_result *result, struct err *err)
{
    const size_t room = 16 << 20;
    struct pipe *pipe = pipe_create(room, err);
    assert_non_null(pipe);
    int status = archive_pack(scratch.in_fd, name, options, pipe, result, err);
    *bytes = BUFFER_EMPTY;
    const void *data;
    ssize_t size;
    struct err end;
    while ((size = pipe_read(pipe, &data, &end)) > 0)
        assert_false(buffer_add(bytes, data, (size_t)size));
    assert_int_equal(size, status);
    if (status)
        assert_string_equal(end.message, err->message);
    pipe_destroy(pipe);
    return status;
}

static struct buffer assert_packs(const char *name, const struct archive_pack_options *options,
                                  struct archive_result *result)
{
    struct err err;
    struct buffer bytes;
    if (pack_bytes(name, options, &bytes, result, &err))
        fail_msg("%s: %s", err_code_name(err.code), err.message);
    assert_int_equal(bytes.size % 512, 0);
    assert_int_equal(bytes.size, result->bytes_packed);
    return bytes;
}

static void assert_not_packed(const char *name, const struct archive_pack_options *options,
                              enum err_code code)
{
    struct err err;
    struct buffer bytes;
    struct archive_result result;
    assert_int_equal(pack_bytes(name, options, &bytes, &result, &err), -1);
    if (err.code != code)
        fail_msg("%s: %s", err_code_name(err.code), err.message);
    buffer_free(&bytes);
}

/* What another reader of tars makes of the bytes: one line an entry. The caller frees the text. */
static struct buffer read_by(const struct buffer *tar, const char *command)
{
    struct buffer text = BUFFER_EMPTY;
    char line[8192], file[128];
    snprintf(file, sizeof file, "%s/in/archive.tar", scratch.root);
    FILE *out = fopen(file, "w");
    assert_int_equal(fwrite(tar->data, 1, tar->size, out), tar->size);
    fclose(out);
    snprintf(line, sizeof line, "%s %s", command, file);
    FILE *in = popen(line, "r");
    while (fgets(line, sizeof line, in))
        assert_false(buffer_add_text(&text, line));
    assert_int_equal(pclose(in), 0);
    unlink(file);
    return text;
}

static void assert_listed(struct buffer *tar, const char *expected)
{
    struct buffer text = read_by(tar, "tar -tf");
    assert_string_equal(text.data ? text.data : "", expected);
    buffer_free(&text);
    buffer_free(tar);
}

static void make_folder(const char *name)
{
    assert_false(mkdirat(scratch.in_fd, name, 0755));
}

static void make_tree(void)
{
    make_folder("t");
    make_folder("t/b");
    scratch_write(scratch.in_fd, "t/b/file", "hello");
    scratch_write(scratch.in_fd, "t/a", "first");
    scratch_write(scratch.in_fd, "t/b.txt", "");
    assert_false(symlinkat("/etc/passwd", scratch.in_fd, "t/link"));
}

static void a_folder_packs_its_children_by_bare_names_sorted_by_bytes(void **state)
{
    (void)state;
    struct archive_result result;
    make_tree();
    struct buffer tar = assert_packs("t", &plain, &result);
    assert_int_equal(result.entries, 5);
    assert_int_equal(result.bytes_unpacked, 10);
    assert_int_equal(result.skipped, 0);
    assert_false(result.single_file);
    char expected[65], got[65];
    sha256_hex_of(tar.data, tar.size, expected);
    sha256_to_hex(result.sha256, got);
    assert_string_equal(got, expected);
    assert_listed(&tar, "a\nb/\nb/file\nb.txt\nlink\n");
    struct err err;
    struct pipe *pipe = pipe_create(1 << 20, &err);
    int self = openat(scratch.in_fd, "t", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_false(archive_pack(self, ".", &plain, pipe, &result, &err));
    assert_int_equal(result.entries, 5);
    pipe_destroy(pipe);
    close(self);
}

static void python_reads_modes_times_owners_and_links(void **state)
{
    (void)state;
    struct archive_result result;
    make_folder("t");
    scratch_write(scratch.in_fd, "t/file", "hello");
    assert_false(fchmodat(scratch.in_fd, "t/file", 04751, 0));
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {1234567890, 999999999}};
    assert_false(utimensat(scratch.in_fd, "t/file", times, 0));
    assert_false(symlinkat("far/away", scratch.in_fd, "t/link"));
    assert_false(utimensat(scratch.in_fd, "t/link", times, AT_SYMLINK_NOFOLLOW));
    struct buffer tar = assert_packs("t", &plain, &result);
    struct buffer text =
        read_by(&tar, "python3 -c \"import sys, tarfile\n"
                      "for m in tarfile.open(sys.argv[1]):\n"
                      "  print(m.name, oct(m.mode), int(m.mtime), m.uid, m.gid, m.uname, m.gname, "
                      "m.size, m.linkname, sep=',')\"");
    assert_string_equal(text.data,
                        "file,0o751,1234567890,0,0,,,5,\nlink,0o777,1234567890,0,0,,,0,far/away\n");
    buffer_free(&text);
    buffer_free(&tar);
}

static void an_empty_folder_packs_to_an_empty_tar(void **state)
{
    (void)state;
    struct archive_result result;
    make_folder("t");
    struct buffer tar = assert_packs("t", &plain, &result);
    assert_int_equal(result.entries, 0);
    assert_listed(&tar, "");
}

static void a_file_packs_to_exactly_one_entry_that_is_not_older_than_the_floor(void **state)
{
    (void)state;
    static const struct {
        int64_t floor;
        long mtime;
    } table[] = {{0, 1000},       {999999, 1000},  {1000000, 1000},
                 {1000001, 1001}, {1001000, 1001}, {1500999, 1501}};
    make_folder("retval");
    scratch_write(scratch.in_fd, "retval/retval", "pickle");
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {1000, 5}};
    assert_false(utimensat(scratch.in_fd, "retval/retval", times, 0));
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct archive_result result;
        struct archive_pack_options options = {.mtime_floor = table[i].floor};
        struct buffer tar = assert_packs("retval/retval", &options, &result);
        assert_true(result.single_file);
        assert_int_equal(result.entries, 1);
        assert_unpacks_beside(&tar, &result);
        assert_true(result.single_file);
        assert_int_equal(stat_of("out").st_mtim.tv_sec, table[i].mtime);
        assert_string_equal(scratch_read(scratch.in_fd, "out"), "pickle");
        clear();
        assert_listed(&tar, "./retval\n");
    }
}

static void what_is_packed_unpacks_to_the_same_names_and_bytes(void **state)
{
    (void)state;
    char path[64 + NAME_MAX + 1], name[NAME_MAX + 1];
    struct archive_result packed, result;
    static const char *const names[] = {"caf\xc3\xa9", "cafe\xcc\x81", "bad-\xff\xfe", "new\nline",
                                        " ",           "-rf",          "./dotted/..."};
    make_folder("t");
    make_folder("t/dotted");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "t/%s", names[i]);
        scratch_write(scratch.in_fd, path, names[i]);
    }
    memset(name, 'n', NAME_MAX);
    name[NAME_MAX] = '\0';
    snprintf(path, sizeof path, "t/dotted/%s", name);
    scratch_write(scratch.in_fd, path, "long");
    assert_false(symlinkat(name, scratch.in_fd, "t/link"));
    struct buffer tar = assert_packs("t", &plain, &packed);
    assert_int_equal(packed.entries, 10);
    assert_unpacks_beside(&tar, &result);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "out/%s", names[i]);
        assert_non_null(scratch_read(scratch.in_fd, path));
        assert_string_equal(scratch_read(scratch.in_fd, path), names[i]);
    }
    snprintf(path, sizeof path, "out/dotted/%s", name);
    assert_string_equal(scratch_read(scratch.in_fd, path), "long");
    assert_int_equal(readlinkat(scratch.in_fd, "out/link", path, sizeof path), NAME_MAX);
    assert_int_equal(result.entries, packed.entries);
    assert_int_equal(result.bytes_unpacked, packed.bytes_unpacked);
    assert_memory_equal(result.sha256, packed.sha256, 32);
    buffer_free(&tar);
}

/* --- a tree that changes meanwhile: the skip callback comes between looking at a child and opening it
 * -------- */

static bool change_b(const char *relative, bool is_folder, void *arg)
{
    (void)is_folder;
    void (*change)(void) = arg;
    if (!strcmp(relative, "b"))
        change();
    return false;
}

static void remove_b(void)
{
    assert_false(unlinkat(scratch.in_fd, "t/b", 0));
}

static void replace_b_by_a_link(void)
{
    assert_false(unlinkat(scratch.in_fd, "t/b", 0));
    assert_false(symlinkat("../../outside/canary", scratch.in_fd, "t/b"));
}

static void replace_b_by_a_fifo(void)
{
    assert_false(unlinkat(scratch.in_fd, "t/b", 0));
    assert_false(mkfifoat(scratch.in_fd, "t/b", 0666));
}

static void replace_folder_b_by_a_link(void)
{
    assert_false(unlinkat(scratch.in_fd, "t/b", AT_REMOVEDIR));
    assert_false(symlinkat("../../outside", scratch.in_fd, "t/b"));
}

static void what_vanishes_or_is_swapped_while_packing_costs_itself_alone(void **state)
{
    (void)state;
    static const struct {
        void (*change)(void);
        bool folder;
    } table[] = {{remove_b, false},
                 {replace_b_by_a_link, false},
                 {replace_b_by_a_fifo, false},
                 {replace_folder_b_by_a_link, true}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct archive_result result;
        struct archive_pack_options options = {.skip = change_b};
        memcpy(&options.arg, &table[i].change, sizeof options.arg);
        make_folder("t");
        scratch_write(scratch.in_fd, "t/a", "one");
        scratch_write(scratch.in_fd, "t/c", "three");
        if (table[i].folder)
            make_folder("t/b");
        else
            scratch_write(scratch.in_fd, "t/b", "two");
        struct buffer tar = assert_packs("t", &options, &result);
        assert_int_equal(result.skipped, 1);
        assert_int_equal(result.entries, 2);
        assert_listed(&tar, "a\nc\n");
        beside_remove(scratch.in_fd, "t");
    }
}

struct packer {
    struct pipe *pipe;
    struct archive_result result;
    struct err err;
    int status;
};

static void *pack_big(void *arg)
{
    struct packer *packer = arg;
    packer->status = archive_pack(scratch.in_fd, "t", &plain, packer->pipe, &packer->result, &packer->err);
    return NULL;
}

/* Changes the length of t/big when its packer is held up by a full pipe, at most 2 MiB into it. */
static struct buffer pack_while_big_becomes(off_t length, struct packer *packer)
{
    pthread_t thread;
    const void *data;
    struct buffer tar = BUFFER_EMPTY;
    struct err err;
    make_folder("t");
    scratch_write(scratch.in_fd, "t/after", "whole");
    scratch_write(scratch.in_fd, "t/big", "begin");
    int fd = openat(scratch.in_fd, "t/big", O_WRONLY | O_CLOEXEC);
    assert_false(ftruncate(fd, 8 << 20));
    packer->pipe = pipe_create(64 << 10, &err);
    assert_false(pthread_create(&thread, NULL, pack_big, packer));
    for (ssize_t size; (size = pipe_read(packer->pipe, &data, &err)) > 0;) {
        if (tar.size == 0)
            assert_false(ftruncate(fd, length));
        assert_false(buffer_add(&tar, data, (size_t)size));
    }
    assert_false(pthread_join(thread, NULL));
    pipe_destroy(packer->pipe);
    close(fd);
    if (packer->status)
        fail_msg("%s", packer->err.message);
    assert_int_equal(packer->result.entries, 2);
    assert_int_equal(packer->result.bytes_unpacked, (8 << 20) + 5);
    return tar;
}

static void a_file_that_shrinks_is_filled_with_zeros_and_counted(void **state)
{
    (void)state;
    struct packer packer;
    struct archive_result result;
    struct buffer tar = pack_while_big_becomes(3 << 20, &packer);
    assert_int_equal(packer.result.skipped, 1);
    assert_unpacks_beside(&tar, &result);
    assert_int_equal(stat_of("out/big").st_size, 8 << 20);
    assert_string_equal(scratch_read(scratch.in_fd, "out/after"), "whole");
    buffer_free(&tar);
}

static void a_file_that_grows_is_stored_as_long_as_it_was(void **state)
{
    (void)state;
    struct packer packer;
    struct archive_result result;
    struct buffer tar = pack_while_big_becomes(9 << 20, &packer);
    assert_int_equal(packer.result.skipped, 0);
    assert_unpacks_beside(&tar, &result);
    assert_int_equal(stat_of("out/big").st_size, 8 << 20);
    assert_string_equal(scratch_read(scratch.in_fd, "out/after"), "whole");
    buffer_free(&tar);
}

static void an_unreadable_file_or_folder_costs_itself_alone(void **state)
{
    (void)state;
    static const char *const points[] = {"archive.open", "archive.list", "archive.read"};
    make_tree();
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        struct archive_result result;
        /* The first opening is that of t itself: not being able to open that is no success. */
        unsigned k = i == 0 ? 3 : 1;
        for (;; k++) {
            fault_reset();
            fault_arm(points[i], k);
            struct buffer tar = assert_packs("t", &plain, &result);
            unsigned passed = fault_count(points[i]);
            buffer_free(&tar);
            assert_int_equal(result.skipped, passed >= k);
            if (passed < k)
                break;
        }
        assert_true(k > (i == 0 ? 3 : 1));
    }
}

static void sockets_and_fifos_are_left_out_and_counted(void **state)
{
    (void)state;
    struct archive_result result;
    make_folder("t");
    scratch_write(scratch.in_fd, "t/file", "x");
    assert_false(mkfifoat(scratch.in_fd, "t/fifo", 0666));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/in/t/socket", scratch.root);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_false(bind(fd, (struct sockaddr *)&address, sizeof address));
    close(fd);
    struct buffer tar = assert_packs("t", &plain, &result);
    assert_int_equal(result.skipped, 2);
    assert_listed(&tar, "file\n");
}

static void what_is_to_be_packed_is_never_reached_through_a_link(void **state)
{
    (void)state;
    make_tree();
    assert_false(symlinkat("../outside", scratch.in_fd, "l"));
    assert_false(symlinkat("../outside/canary", scratch.in_fd, "f"));
    assert_false(mkfifoat(scratch.in_fd, "fifo", 0666));
    assert_not_packed("l", &plain, ERR_FILE_NOT_REGULAR);
    assert_not_packed("f", &plain, ERR_FILE_NOT_REGULAR);
    assert_not_packed("l/canary", &plain, ERR_FILE_NOT_DIRECTORY);
    assert_not_packed("fifo", &plain, ERR_FILE_NOT_REGULAR);
    assert_not_packed("missing", &plain, ERR_FILE_NOT_FOUND);
    assert_not_packed("missing/file", &plain, ERR_FILE_NOT_FOUND);
    assert_not_packed("..", &plain, ERR_FILE_BAD_NAME);
}

static void what_lies_too_deep_costs_itself_alone(void **state)
{
    (void)state;
    struct archive_result result;
    make_folder("t");
    scratch_write(scratch.in_fd, "t/z", "last");
    int fd = openat(scratch.in_fd, "t", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 300; i++) {
        assert_false(mkdirat(fd, "d", 0755));
        int next = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(fd);
        fd = next;
    }
    close(fd);
    struct buffer tar = assert_packs("t", &plain, &result);
    assert_int_equal(result.skipped, 1);
    assert_int_equal(result.entries, ARCHIVE_MAX_DEPTH + 1);
    struct archive_result unpacked;
    assert_unpacks_beside(&tar, &unpacked);
    assert_int_equal(unpacked.entries, result.entries);
    assert_string_equal(scratch_read(scratch.in_fd, "out/z"), "last");
    buffer_free(&tar);
}

static bool skip_b(const char *relative, bool is_folder, void *arg)
{
    (void)arg;
    return is_folder && !strcmp(relative, "b");
}

static void what_the_caller_leaves_out_is_not_counted(void **state)
{
    (void)state;
    struct archive_result result;
    make_tree();
    struct buffer tar = assert_packs("t", &(struct archive_pack_options){.skip = skip_b}, &result);
    assert_int_equal(result.skipped, 0);
    assert_listed(&tar, "a\nb.txt\nlink\n");
}

static void more_bytes_than_allowed_are_refused(void **state)
{
    (void)state;
    struct archive_result result;
    make_tree();
    struct buffer tar = assert_packs("t", &(struct archive_pack_options){.max_bytes = 10}, &result);
    buffer_free(&tar);
    assert_not_packed("t", &(struct archive_pack_options){.max_bytes = 9}, ERR_ARCHIVE_TOO_BIG);
    assert_not_packed("t/a", &(struct archive_pack_options){.max_bytes = 4}, ERR_ARCHIVE_TOO_BIG);
}

/* Too few descriptors is our failure: it must not pass for a tree of unreadable files. */
static void a_lack_of_descriptors_is_an_error(void **state)
{
    (void)state;
    struct err err;
    struct rlimit before, few = {0};
    make_tree();
    assert_false(getrlimit(RLIMIT_NOFILE, &before));
    few = before;
    struct pipe *pipe = pipe_create(1 << 20, &err);
    struct archive_result result;
    int next = dup(0); /* the lowest free number */
    close(next);
    few.rlim_cur = (rlim_t)next + 2; /* enough for t and its parent */
    assert_false(setrlimit(RLIMIT_NOFILE, &few));
    int status = archive_pack(scratch.in_fd, "t", &plain, pipe, &result, &err);
    assert_false(setrlimit(RLIMIT_NOFILE, &before));
    pipe_destroy(pipe);
    assert_int_equal(status, -1);
    assert_int_equal(err.sys, EMFILE);
}

static void each_failure_of_our_own_ends_the_stream_with_its_reason(void **state)
{
    (void)state;
    static const char *const points[] = {"archive.write", "archive.memory"};
    make_tree();
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        unsigned k = 1;
        for (;; k++) {
            struct err err;
            struct buffer bytes;
            struct archive_result result;
            fault_reset();
            fault_arm(points[i], k);
            int status = pack_bytes("t", &plain, &bytes, &result, &err);
            buffer_free(&bytes);
            assert_int_equal(status, fault_count(points[i]) < k ? 0 : -1);
            if (!status)
                break;
        }
        assert_true(k > 1);
    }
}

static void an_aborted_stream_ends_the_packing(void **state)
{
    (void)state;
    struct err err, why;
    struct archive_result result;
    make_tree();
    err_set(&why, ERR_TASK_CANCELLED, "somebody stopped it");
    struct pipe *pipe = pipe_create(0, &err);
    pipe_abort(pipe, &why);
    assert_int_equal(archive_pack(scratch.in_fd, "t", &plain, pipe, &result, &err), -1);
    assert_int_equal(err.code, ERR_TASK_CANCELLED);
    pipe_destroy(pipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_folder_packs_its_children_by_bare_names_sorted_by_bytes),
        TEST(python_reads_modes_times_owners_and_links),
        TEST(an_empty_folder_packs_to_an_empty_tar),
        TEST(a_file_packs_to_exactly_one_entry_that_is_not_older_than_the_floor),
        TEST(what_is_packed_unpacks_to_the_same_names_and_bytes),
        TEST(what_vanishes_or_is_swapped_while_packing_costs_itself_alone),
        TEST(a_file_that_shrinks_is_filled_with_zeros_and_counted),
        TEST(a_file_that_grows_is_stored_as_long_as_it_was),
        TEST(an_unreadable_file_or_folder_costs_itself_alone),
        TEST(sockets_and_fifos_are_left_out_and_counted),
        TEST(what_is_to_be_packed_is_never_reached_through_a_link),
        TEST(what_lies_too_deep_costs_itself_alone),
        TEST(what_the_caller_leaves_out_is_not_counted),
        TEST(more_bytes_than_allowed_are_refused),
        TEST(a_lack_of_descriptors_is_an_error),
        TEST(each_failure_of_our_own_ends_the_stream_with_its_reason),
        TEST(an_aborted_stream_ends_the_packing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
