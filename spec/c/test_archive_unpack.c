/* Unpacking: what an archive becomes, and what a hostile one does not. */
#include "../support/archive_unpacking.h"

#include <pthread.h>

#include "base/sha256.h"

/* A tree with one of everything. */
static struct buffer everything(void)
{
    struct buffer tar = BUFFER_EMPTY;
    tar_put(&tar, '5', "read-only/", "", 0500, 1100000000, "", 0);
    tar_put(&tar, '0', "read-only/file", "", 04751, 1200000000, "hello", 5);
    tar_hard_link(&tar, "same", "read-only/file");
    tar_put(&tar, '2', "link", "/etc/passwd", 0777, 1300000000, "", 0);
    tar_file(&tar, "implied/folder/file", "deep");
    tar_file(&tar, "empty", "");
    tar_end(&tar);
    return tar;
}

static void assert_everything(const struct archive_result *result)
{
    char target[64] = "";
    assert_int_equal(result->entries, 6);
    assert_int_equal(result->bytes_unpacked, 9);
    assert_false(result->single_file);
    assert_string_equal(scratch_read(scratch.in_fd, "out/read-only/file"), "hello");
    assert_string_equal(scratch_read(scratch.in_fd, "out/same"), "hello");
    assert_string_equal(scratch_read(scratch.in_fd, "out/implied/folder/file"), "deep");
    assert_string_equal(scratch_read(scratch.in_fd, "out/empty"), "");
    assert_int_equal(readlinkat(scratch.in_fd, "out/link", target, sizeof target), 11);
    assert_string_equal(target, "/etc/passwd");
    assert_int_equal(stat_of("out/link").st_mtim.tv_sec, 1300000000);
    struct stat folder = stat_of("out/read-only"), file = stat_of("out/read-only/file");
    assert_int_equal(folder.st_mode & 07777, 0700);
    assert_int_equal(folder.st_mtim.tv_sec, 1100000000);
    assert_int_equal(file.st_mode & 07777, 0751);
    assert_int_equal(file.st_mtim.tv_sec, 1200000000);
    assert_int_equal(file.st_nlink, 2);
    assert_int_equal(stat_of("out").st_mode & 07777, 0755);
}

static void a_tar_becomes_a_folder_with_its_modes_times_and_links(void **state)
{
    (void)state;
    struct archive_result result;
    struct buffer tar = everything();
    assert_unpacks(&tar, &result);
    assert_everything(&result);
    buffer_free(&tar);
}

static void compression_is_found_by_content_and_the_digest_is_of_the_packed_bytes(void **state)
{
    (void)state;
    static const char *const filters[] = {"gzip", "bzip2", "xz", "zstd"};
    struct buffer tar = everything();
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        char expected[65], got[65];
        struct archive_result result;
        struct buffer packed = compressed(&tar, filters[i]);
        assert_unpacks(&packed, &result);
        assert_everything(&result);
        assert_int_equal(result.bytes_packed, packed.size);
        sha256_hex_of(packed.data, packed.size, expected);
        sha256_to_hex(result.sha256, got);
        assert_string_equal(got, expected);
        buffer_free(&packed);
        clear();
    }
    buffer_free(&tar);
}

static void bytes_behind_the_archive_belong_to_the_digest(void **state)
{
    (void)state;
    char expected[65], got[65];
    struct archive_result result;
    struct buffer tar = everything();
    for (int i = 0; i < 100000; i++)
        assert_false(buffer_add_text(&tar, "trailing garbage"));
    assert_unpacks(&tar, &result);
    sha256_hex_of(tar.data, tar.size, expected);
    sha256_to_hex(result.sha256, got);
    assert_string_equal(got, expected);
    assert_int_equal(result.bytes_packed, tar.size);
    buffer_free(&tar);
}

static void a_zip_is_read_as_a_stream(void **state)
{
    (void)state;
    struct archive_result result;
    struct buffer zip = BUFFER_EMPTY;
    struct archive *writer = zip_open(&zip);
    zip_put(writer, AE_IFDIR, "folder/", "", 0);
    zip_put(writer, AE_IFREG, "folder/file", "zipped", 6);
    zip_put(writer, AE_IFREG, "nam\xc3\xa9", "x", 1);
    assert_false(archive_write_close(writer));
    archive_write_free(writer);
    assert_unpacks(&zip, &result);
    assert_int_equal(result.entries, 3);
    assert_string_equal(scratch_read(scratch.in_fd, "out/folder/file"), "zipped");
    assert_string_equal(scratch_read(scratch.in_fd, "out/nam\xc3\xa9"), "x");
    buffer_free(&zip);
}

static void exactly_one_entry_with_a_leading_dot_slash_becomes_a_file(void **state)
{
    (void)state;
    static const struct {
        const char *entries[3]; /* a trailing slash: a folder */
        const char *file;       /* where the content is then */
        bool single;
    } table[] = {
        {{"./retval"}, "out", true},
        {{"./folder/retval"}, "out", true},
        {{"retval"}, "out/retval", false},
        {{"./", "./retval"}, "out/retval", false},
        {{"./retval", "other"}, "out/retval", false},
        {{"./retval", "./retval"}, "out/retval", false},
        {{"./folder/"}, NULL, false},
        {{"./"}, NULL, false},
        {{NULL}, NULL, false},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct archive_result result;
        struct buffer tar = BUFFER_EMPTY;
        for (int j = 0; j < 3 && table[i].entries[j]; j++) {
            const char *name = table[i].entries[j];
            if (name[strlen(name) - 1] == '/')
                tar_folder(&tar, name);
            else
                tar_file(&tar, name, "content");
        }
        tar_end(&tar);
        assert_unpacks(&tar, &result);
        assert_int_equal(result.single_file, table[i].single);
        assert_int_equal(S_ISREG(stat_of("out").st_mode), table[i].single);
        if (table[i].file)
            assert_string_equal(scratch_read(scratch.in_fd, table[i].file), "content");
        buffer_free(&tar);
        clear();
    }
}

static void a_single_file_keeps_mode_and_time_also_when_compressed(void **state)
{
    (void)state;
    struct archive_result result;
    struct buffer tar = BUFFER_EMPTY;
    tar_put(&tar, '0', "./retval", "", 0440, 1234567890, "x", 1);
    tar_end(&tar);
    struct buffer packed = compressed(&tar, "gzip");
    assert_unpacks(&packed, &result);
    assert_true(result.single_file);
    assert_int_equal(stat_of("out").st_mode, S_IFREG | 0640);
    assert_int_equal(stat_of("out").st_mtim.tv_sec, 1234567890);
    buffer_free(&tar);
    buffer_free(&packed);
}

static void a_single_link_stays_a_link_inside_a_folder(void **state)
{
    (void)state;
    struct archive_result result;
    struct buffer tar = BUFFER_EMPTY;
    tar_link(&tar, "./retval", "/etc/passwd");
    tar_end(&tar);
    assert_unpacks(&tar, &result);
    assert_true(S_ISDIR(stat_of("out").st_mode));
    assert_true(S_ISLNK(stat_of("out/retval").st_mode));
    buffer_free(&tar);
}

static void what_was_there_is_replaced_unless_it_is_a_folder_with_something_in_it(void **state)
{
    (void)state;
    struct err err;
    struct archive_result result;
    struct buffer file = BUFFER_EMPTY, folder = BUFFER_EMPTY;
    tar_file(&file, "./x", "new");
    tar_end(&file);
    tar_file(&folder, "x", "new");
    tar_end(&folder);
    for (int i = 0; i < 2; i++) {
        const struct buffer *tar = i ? &folder : &file;
        const char *content = i ? "out/x" : "out";
        scratch_write(scratch.in_fd, "out", "old");
        assert_unpacks(tar, &result);
        assert_string_equal(scratch_read(scratch.in_fd, content), "new");
        clear();
        assert_false(mkdirat(scratch.in_fd, "out", 0755));
        assert_unpacks(tar, &result);
        assert_string_equal(scratch_read(scratch.in_fd, content), "new");
        clear();
        assert_false(symlinkat("../outside/canary", scratch.in_fd, "out"));
        assert_unpacks(tar, &result);
        assert_string_equal(scratch_read(scratch.in_fd, content), "new");
        clear();
        assert_false(symlinkat("../outside", scratch.in_fd, "out"));
        assert_unpacks(tar, &result);
        assert_string_equal(scratch_read(scratch.in_fd, content), "new");
        clear();
        assert_false(mkdirat(scratch.in_fd, "out", 0755));
        scratch_write(scratch.in_fd, "out/mine", "old");
        assert_int_equal(unpack_bytes(tar, scratch.in_fd, "out", &no_limits, &result, &err), -1);
        assert_int_equal(err.code, ERR_FILE_NOT_EMPTY);
        assert_string_equal(scratch_read(scratch.in_fd, "out/mine"), "old");
        assert_int_equal(scratch_count(scratch.in_fd, "."), 1);
        assert_int_equal(scratch_count(scratch.in_fd, "out"), 1);
        clear();
    }
    buffer_free(&file);
    buffer_free(&folder);
}

static void the_target_may_lie_below_folders_but_not_below_links(void **state)
{
    (void)state;
    struct err err;
    struct archive_result result;
    struct buffer tar = everything();
    assert_false(mkdirat(scratch.in_fd, "a", 0755));
    assert_false(unpack_bytes(&tar, scratch.in_fd, "a/out", &no_limits, &result, &err));
    assert_string_equal(scratch_read(scratch.in_fd, "a/out/same"), "hello");
    assert_false(symlinkat("../outside", scratch.in_fd, "l"));
    static const struct {
        const char *name;
        enum err_code code;
    } table[] = {{"l/out", ERR_FILE_NOT_DIRECTORY}, {"missing/out", ERR_FILE_NOT_FOUND},
                 {"a/", ERR_FILE_BAD_NAME},         {"", ERR_FILE_BAD_NAME},
                 {"a/..", ERR_FILE_BAD_NAME},       {".", ERR_FILE_BAD_NAME}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        assert_int_equal(unpack_bytes(&tar, scratch.in_fd, table[i].name, &no_limits, &result, &err), -1);
        assert_int_equal(err.code, table[i].code);
    }
    buffer_free(&tar);
}

static void names_are_bytes_and_stay_as_they_are(void **state)
{
    (void)state;
    static const char *const names[] = {
        "caf\xc3\xa9", "cafe\xcc\x81", "bad-\xff\xfe", "new\nline", "back\\slash", " ", "-rf"};
    for (int pax = 0; pax < 2; pax++) {
        struct archive_result result;
        struct buffer tar = BUFFER_EMPTY;
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            if (pax)
                tar_pax(&tar, "path", names[i], strlen(names[i]));
            tar_file(&tar, pax ? "other" : names[i], names[i]);
        }
        tar_end(&tar);
        assert_unpacks(&tar, &result);
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            char path[64];
            snprintf(path, sizeof path, "out/%s", names[i]);
            assert_non_null(scratch_read(scratch.in_fd, path));
            assert_string_equal(scratch_read(scratch.in_fd, path), names[i]);
        }
        buffer_free(&tar);
        clear();
    }
}

static void very_long_names_are_taken_as_far_as_the_file_system_takes_them(void **state)
{
    (void)state;
    char name[4000];
    struct archive_result result;
    struct buffer tar = BUFFER_EMPTY;
    memset(name, 'n', sizeof name);
    tar_pax(&tar, "path", name, 255);
    tar_file(&tar, "short", "long");
    tar_end(&tar);
    assert_unpacks(&tar, &result);
    name[255] = '\0';
    assert_int_equal(scratch_count(scratch.in_fd, "out"), 1);
    buffer_free(&tar);
    clear();
    memset(name, 'n', sizeof name);
    tar_pax(&tar, "path", name, 256);
    tar_file(&tar, "short", "long");
    assert_unsafe(&tar);
    for (size_t i = 100; i < sizeof name; i += 101)
        name[i] = '/';
    tar_pax(&tar, "path", name, sizeof name);
    tar_file(&tar, "short", "long");
    tar_end(&tar);
    assert_unpacks(&tar, &result);
    buffer_free(&tar);
}

/* Wherever it is cut, it is corrupt: never a smaller tree. */
static void a_truncated_archive_is_corrupt_wherever_it_is_cut(void **state)
{
    (void)state;
    static const char *const filters[] = {NULL, "gzip", "xz", "zstd", "bzip2"};
    struct buffer tar = everything();
    size_t content = tar.size - 1024;
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        struct buffer packed = filters[i] ? compressed(&tar, filters[i]) : tar;
        for (size_t cut = 0; filters[i] ? cut < packed.size / 2 : cut <= content;
             cut += filters[i] ? 7 : 128) {
            struct buffer part = BUFFER_EMPTY;
            assert_false(buffer_reserve(&part, 1) || buffer_add(&part, packed.data, cut));
            assert_refused(&part, &no_limits, ERR_ARCHIVE_CORRUPT);
        }
        if (filters[i])
            buffer_free(&packed);
    }
    buffer_free(&tar);
}

static void what_is_no_archive_is_corrupt(void **state)
{
    (void)state;
    struct buffer bytes = BUFFER_EMPTY;
    for (int i = 0; i < 1000; i++)
        assert_false(buffer_add_text(&bytes, "This is no archive at all. "));
    assert_refused(&bytes, &no_limits, ERR_ARCHIVE_CORRUPT);
    assert_false(buffer_add_text(&bytes, "PK"));
    assert_refused(&bytes, &no_limits, ERR_ARCHIVE_CORRUPT);
    assert_false(buffer_add_text(&bytes, "\x1f\x8b\x08 not really gzip, whatever it says"));
    assert_refused(&bytes, &no_limits, ERR_ARCHIVE_CORRUPT);
    struct buffer tar = everything();
    tar.data[512 + 3]++; /* a checksum no longer fits */
    assert_refused(&tar, &no_limits, ERR_ARCHIVE_CORRUPT);
    struct buffer zip = BUFFER_EMPTY;
    struct archive *writer = zip_open(&zip);
    zip_put(writer, AE_IFREG, "file", "some text", 9);
    assert_false(archive_write_close(writer));
    archive_write_free(writer);
    char *text = memmem(zip.data, zip.size, "file", 4);
    memset(text + 4 + 9, 0xff, 8); /* the compressed text or its checksum */
    assert_refused(&zip, &no_limits, ERR_ARCHIVE_CORRUPT);
}

static void an_aborted_stream_leaves_nothing_and_keeps_its_reason(void **state)
{
    (void)state;
    struct err err, why;
    struct archive_result result;
    struct buffer tar = everything();
    err_set(&why, ERR_TASK_CANCELLED, "somebody stopped it");
    struct pipe *pipe = pipe_create(tar.size, &err);
    assert_false(pipe_write(pipe, tar.data, 2048, &err));
    pipe_abort(pipe, &why);
    assert_int_equal(archive_unpack(pipe, scratch.in_fd, "out", &no_limits, &result, &err), -1);
    assert_int_equal(err.code, ERR_TASK_CANCELLED);
    assert_int_equal(scratch_count(scratch.in_fd, "."), 0);
    pipe_destroy(pipe);
    buffer_free(&tar);
}

struct endless {
    struct pipe *pipe;
    struct err err;
};

static void *write_without_end(void *arg)
{
    struct endless *endless = arg;
    struct buffer tar = everything();
    tar.data[1024 + 600] ^= 1; /* content: harmless; what follows is no tar header */
    tar.size -= 1024;
    while (!pipe_write(endless->pipe, tar.data, tar.size, &endless->err))
        tar.data[0] = '/';
    buffer_free(&tar);
    return NULL;
}

static void a_refused_archive_ends_its_writer_with_the_same_reason(void **state)
{
    (void)state;
    pthread_t writer;
    struct err err;
    struct archive_result result;
    struct endless endless = {.pipe = pipe_create(4096, &err)};
    assert_false(pthread_create(&writer, NULL, write_without_end, &endless));
    assert_int_equal(archive_unpack(endless.pipe, scratch.in_fd, "out", &no_limits, &result, &err), -1);
    assert_false(pthread_join(writer, NULL));
    assert_int_equal(endless.err.code, err.code);
    assert_string_equal(endless.err.message, err.message);
    pipe_destroy(endless.pipe);
    assert_int_equal(scratch_count(scratch.in_fd, "."), 0);
}

static void each_failure_on_the_way_leaves_nothing(void **state)
{
    (void)state;
    static const char *const points[] = {"archive.open",   "archive.read",   "archive.write",
                                         "archive.rename", "archive.mkdir",  "archive.link",
                                         "archive.meta",   "archive.create", "archive.memory"};
    struct buffer tar = everything();
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        unsigned k = 1;
        for (;; k++) {
            struct err err = {0};
            struct archive_result result;
            int before = open_descriptors();
            fault_reset();
            fault_arm(points[i], k);
            int status = unpack_bytes(&tar, scratch.in_fd, "out", &no_limits, &result, &err);
            unsigned passed = fault_count(points[i]);
            assert_int_equal(open_descriptors(), before);
            if (passed < k) {
                assert_int_equal(status, 0);
                clear();
                break;
            }
            assert_int_equal(status, -1);
            assert_true(err.code == ERR_FILE_IO || err.code == ERR_FAULT || err.code == ERR_NO_MEMORY);
            assert_int_equal(scratch_count(scratch.in_fd, "."), 0);
        }
        if (k == 1)
            fail_msg("%s is never passed", points[i]);
    }
    buffer_free(&tar);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_tar_becomes_a_folder_with_its_modes_times_and_links),
        TEST(compression_is_found_by_content_and_the_digest_is_of_the_packed_bytes),
        TEST(bytes_behind_the_archive_belong_to_the_digest),
        TEST(a_zip_is_read_as_a_stream),
        TEST(exactly_one_entry_with_a_leading_dot_slash_becomes_a_file),
        TEST(a_single_file_keeps_mode_and_time_also_when_compressed),
        TEST(a_single_link_stays_a_link_inside_a_folder),
        TEST(what_was_there_is_replaced_unless_it_is_a_folder_with_something_in_it),
        TEST(the_target_may_lie_below_folders_but_not_below_links),
        TEST(names_are_bytes_and_stay_as_they_are),
        TEST(very_long_names_are_taken_as_far_as_the_file_system_takes_them),
        TEST(a_truncated_archive_is_corrupt_wherever_it_is_cut),
        TEST(what_is_no_archive_is_corrupt),
        TEST(an_aborted_stream_leaves_nothing_and_keeps_its_reason),
        TEST(a_refused_archive_ends_its_writer_with_the_same_reason),
        TEST(each_failure_on_the_way_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
