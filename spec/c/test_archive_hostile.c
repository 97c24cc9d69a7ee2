/* Unpacking what strangers send: nothing is written outside the target, whatever the archive asks for. */
#include "../support/archive_unpacking.h"

static void names_that_lead_out_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"../evil",     "/tmp/evil",     "a/../../evil", "..",
                                        "a/..",        "./../evil",     "//tmp/evil",   "../outside/canary",
                                        "a/b/../../c", "../in/out-evil"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct buffer tar = BUFFER_EMPTY;
        tar_file(&tar, "good", "x");
        tar_file(&tar, names[i], "evil");
        assert_unsafe(&tar);
        tar_folder(&tar, names[i]);
        assert_unsafe(&tar);
        tar_link(&tar, names[i], "x");
        assert_unsafe(&tar);
        tar_pax(&tar, "path", names[i], strlen(names[i]));
        tar_file(&tar, "looks-good", "evil");
        assert_unsafe(&tar);
        struct buffer zip = BUFFER_EMPTY;
        struct archive *writer = zip_open(&zip);
        zip_put(writer, AE_IFREG, names[i], "evil", 4);
        archive_write_free(writer);
        assert_refused(&zip, &no_limits, ERR_ARCHIVE_UNSAFE_ENTRY);
    }
}

static void an_entry_without_a_name_or_in_the_place_of_the_folder_is_refused(void **state)
{
    (void)state;
    struct buffer tar = BUFFER_EMPTY;
    tar_file(&tar, "", "x");
    assert_unsafe(&tar);
    tar_file(&tar, ".", "x");
    assert_unsafe(&tar);
    tar_link(&tar, ".", "../outside");
    assert_unsafe(&tar);
    tar_hard_link(&tar, "./", "a");
    assert_unsafe(&tar);
}

/* A NUL ends the name: the rest of it is not looked at by anybody. */
static void a_nul_in_a_name_ends_it(void **state)
{
    (void)state;
    struct archive_result result;
    struct buffer tar = BUFFER_EMPTY;
    tar_pax(&tar, "path", "a\0/../../evil", 13);
    tar_file(&tar, "b", "x");
    tar_end(&tar);
    assert_unpacks(&tar, &result);
    assert_int_equal(scratch_count(scratch.in_fd, "out"), 1);
    assert_string_equal(scratch_read(scratch.in_fd, "out/a"), "x");
    buffer_free(&tar);
}

static void nothing_is_written_through_a_link(void **state)
{
    (void)state;
    struct buffer tar = BUFFER_EMPTY;
    char outside[96];
    snprintf(outside, sizeof outside, "%s/outside", scratch.root);
    const char *const targets[] = {"../../outside", "../outside", ".", "folder", outside};
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        tar_folder(&tar, "folder");
        tar_link(&tar, "l", targets[i]);
        tar_file(&tar, "l/canary", "evil");
        assert_unsafe(&tar);
        tar_folder(&tar, "folder");
        tar_link(&tar, "l", targets[i]);
        tar_folder(&tar, "l/new");
        assert_unsafe(&tar);
        tar_link(&tar, "l", targets[i]);
        tar_link(&tar, "l/new", "x");
        assert_unsafe(&tar);
        /* A folder of the same name must not adopt what the link points at. */
        tar_link(&tar, "l", targets[i]);
        tar_folder(&tar, "l");
        tar_file(&tar, "l/canary", "evil");
        assert_unsafe(&tar);
        /* The folder of the last entry is kept open: it must not be remembered beyond its time. */
        tar_file(&tar, "folder/a", "x");
        tar_link(&tar, "folder", targets[i]);
        tar_file(&tar, "folder/canary", "evil");
        assert_unsafe(&tar);
    }
}

static void a_file_named_like_an_earlier_link_takes_its_place(void **state)
{
    (void)state;
    struct archive_result result;
    struct buffer tar = BUFFER_EMPTY;
    tar_link(&tar, "l", "../../outside/canary");
    tar_file(&tar, "l", "mine");
    tar_end(&tar);
    assert_unpacks(&tar, &result);
    assert_string_equal(scratch_read(scratch.in_fd, "out/l"), "mine");
    assert_true(S_ISREG(stat_of("out/l").st_mode));
    buffer_free(&tar);
}

static void hard_links_lead_only_to_files_of_the_same_archive(void **state)
{
    (void)state;
    struct buffer tar = BUFFER_EMPTY;
    static const char *const targets[] = {"../outside/canary",
                                          "/etc/passwd",
                                          "missing",
                                          "missing/file",
                                          "folder",
                                          "link",
                                          "out-link/canary",
                                          "file/x",
                                          "",
                                          "."};
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        tar_folder(&tar, "folder");
        tar_file(&tar, "file", "x");
        tar_link(&tar, "link", "../../outside/canary");
        tar_link(&tar, "out-link", "../../outside");
        tar_hard_link(&tar, "h", targets[i]);
        assert_unsafe(&tar);
    }
}

static void one_name_twice_keeps_the_later_and_changes_no_other_name(void **state)
{
    (void)state;
    struct archive_result result;
    struct buffer tar = BUFFER_EMPTY;
    tar_file(&tar, "a", "first and longer");
    tar_hard_link(&tar, "b", "a");
    tar_hard_link(&tar, "a", "a"); /* to itself: stays */
    tar_file(&tar, "b", "second");
    tar_folder(&tar, "folder");
    tar_put(&tar, '5', "folder", "", 0711, 1, "", 0);
    tar_end(&tar);
    assert_unpacks(&tar, &result);
    assert_string_equal(scratch_read(scratch.in_fd, "out/a"), "first and longer");
    assert_string_equal(scratch_read(scratch.in_fd, "out/b"), "second");
    assert_int_equal(stat_of("out/folder").st_mode & 0777, 0711);
    buffer_free(&tar);
}

static void files_and_folders_do_not_take_each_others_place(void **state)
{
    (void)state;
    struct buffer tar = BUFFER_EMPTY;
    tar_folder(&tar, "a");
    tar_file(&tar, "a", "x");
    assert_unsafe(&tar);
    tar_folder(&tar, "a");
    tar_link(&tar, "a", "x");
    assert_unsafe(&tar);
    tar_file(&tar, "f", "x");
    tar_folder(&tar, "a");
    tar_hard_link(&tar, "a", "f");
    assert_unsafe(&tar);
    tar_file(&tar, "a", "x");
    tar_folder(&tar, "a");
    assert_unsafe(&tar);
    tar_file(&tar, "a", "x");
    tar_file(&tar, "a/b", "x");
    assert_unsafe(&tar);
}

static void devices_and_fifos_are_refused(void **state)
{
    (void)state;
    struct buffer tar = BUFFER_EMPTY;
    for (char type = '3'; type <= '6'; type++) {
        if (type == '5')
            continue;
        tar_put(&tar, type, "special", "", 0666, 0, "", 0);
        assert_unsafe(&tar);
    }
}

static void too_many_entries_are_refused_implied_folders_included(void **state)
{
    (void)state;
    struct archive_limits limits = {.max_entries = 1000};
    struct buffer tar = BUFFER_EMPTY;
    for (int i = 0; i < 1001; i++)
        tar_put(&tar, '0', "same", "", 0644, 0, "", 0);
    tar_end(&tar);
    struct buffer packed = compressed(&tar, "gzip");
    assert_refused(&tar, &limits, ERR_ARCHIVE_TOO_MANY);
    assert_refused(&packed, &limits, ERR_ARCHIVE_TOO_MANY);
    for (int i = 0; i < 110; i++) {
        char name[100];
        snprintf(name, sizeof name, "%d/a/b/c/d/e/f/g/h/file", i);
        tar_file(&tar, name, "");
    }
    tar_end(&tar);
    assert_refused(&tar, &limits, ERR_ARCHIVE_TOO_MANY);
}

/* What is remembered of each folder until the end must not become a bomb of memory. */
static void too_many_bytes_of_folder_names_are_refused(void **state)
{
    (void)state;
    char name[4000];
    struct buffer tar = BUFFER_EMPTY;
    memset(name, 'n', sizeof name);
    for (size_t i = 100; i < sizeof name; i += 101)
        name[i] = '/';
    for (size_t all = 0; all <= (64 << 20); all += sizeof name) {
        tar_pax(&tar, "path", name, sizeof name);
        tar_folder(&tar, "short");
    }
    tar_end(&tar);
    assert_refused(&tar, &no_limits, ERR_ARCHIVE_TOO_MANY);
}

static void bombs_are_refused_by_size_and_by_ratio(void **state)
{
    (void)state;
    static const char *const filters[] = {"gzip", "bzip2", "xz", "zstd"};
    struct archive_limits size = {.max_bytes = 20 << 20}, ratio = {.max_ratio = 100};
    const size_t bomb = 24 << 20;
    char *zeros = calloc(1, bomb);
    struct buffer tar = BUFFER_EMPTY;
    tar_put(&tar, '0', "bomb", "", 0644, 0, zeros, bomb);
    tar_end(&tar);
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        struct buffer once = compressed(&tar, filters[i]), again = compressed(&tar, filters[i]);
        struct buffer nested = compressed(&once, "gzip");
        assert_refused(&once, &size, ERR_ARCHIVE_TOO_BIG);
        assert_refused(&again, &ratio, ERR_ARCHIVE_RATIO);
        assert_refused(&nested, &ratio, ERR_ARCHIVE_RATIO);
    }
    buffer_free(&tar);
    for (int i = 0; i < 2; i++) {
        struct buffer zip = BUFFER_EMPTY;
        struct archive *writer = zip_open(&zip);
        zip_put(writer, AE_IFREG, "bomb", zeros, bomb);
        assert_false(archive_write_close(writer));
        archive_write_free(writer);
        assert_refused(&zip, i ? &ratio : &size, i ? ERR_ARCHIVE_RATIO : ERR_ARCHIVE_TOO_BIG);
    }
    free(zeros);
}

/* libarchive passes over the content of a hard link without showing it: it must not be a way around the
 * limits. */
static void a_bomb_in_what_libarchive_skips_is_refused_too(void **state)
{
    (void)state;
    struct archive_limits ratio = {.max_ratio = 100}, size = {.max_bytes = 20 << 20};
    const size_t bomb = 24 << 20;
    char *zeros = calloc(1, bomb);
    for (int i = 0; i < 2; i++) {
        struct buffer tar = BUFFER_EMPTY;
        tar_file(&tar, "file", "x");
        tar_pax(&tar, "path", "hard", 4);
        tar_put(&tar, '1', "hard", "file", 0644, 0, zeros, bomb);
        tar.size -= 512;
        struct buffer packed = compressed(&tar, "zstd");
        buffer_free(&tar);
        assert_refused(&packed, i ? &ratio : &size, i ? ERR_ARCHIVE_RATIO : ERR_ARCHIVE_TOO_BIG);
    }
    free(zeros);
}

/* In GNU's old form: where the pieces are and how long the whole is, in the header's last part. */
static void tar_sparse(struct buffer *tar, const char *real_size)
{
    struct tar_header header = {.type = 'S', .magic = "ustar ", .version = " ", .name = "sparse"};
    char *bytes = (char *)&header;
    strcpy(header.size, "00000000005");
    strcpy(bytes + 386, "00000010000"); /* 5 bytes at 4096 */
    strcpy(bytes + 398, "00000000005");
    strcpy(bytes + 410, real_size); /* no bytes at the end */
    strcpy(bytes + 422, "00000000000");
    strcpy(bytes + 483, real_size);
    tar_sum(&header);
    char block[512] = "hello";
    assert_false(buffer_add(tar, &header, 512) || buffer_add(tar, block, sizeof block));
    tar_end(tar);
}

static void holes_count_as_bytes_and_stay_holes(void **state)
{
    (void)state;
    struct archive_result result;
    struct archive_limits limits = {.max_bytes = UINT64_C(1) << 30};
    struct buffer tar = BUFFER_EMPTY;
    tar_sparse(&tar, "00100000000");
    assert_unpacks(&tar, &result);
    struct stat st = stat_of("out/sparse");
    assert_int_equal(st.st_size, 1 << 24);
    assert_true(st.st_blocks * 512 < 1 << 20);
    assert_int_equal(result.bytes_unpacked, 1 << 24);
    buffer_free(&tar);
    clear();
    tar_sparse(&tar, "77777777777");
    assert_refused(&tar, &limits, ERR_ARCHIVE_TOO_BIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(names_that_lead_out_are_refused),
        TEST(an_entry_without_a_name_or_in_the_place_of_the_folder_is_refused),
        TEST(a_nul_in_a_name_ends_it),
        TEST(nothing_is_written_through_a_link),
        TEST(a_file_named_like_an_earlier_link_takes_its_place),
        TEST(hard_links_lead_only_to_files_of_the_same_archive),
        TEST(one_name_twice_keeps_the_later_and_changes_no_other_name),
        TEST(files_and_folders_do_not_take_each_others_place),
        TEST(devices_and_fifos_are_refused),
        TEST(too_many_entries_are_refused_implied_folders_included),
        TEST(too_many_bytes_of_folder_names_are_refused),
        TEST(bombs_are_refused_by_size_and_by_ratio),
        TEST(a_bomb_in_what_libarchive_skips_is_refused_too),
        TEST(holes_count_as_bytes_and_stay_holes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
