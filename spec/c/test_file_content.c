/* What is read from and written into files (host/file/content.c). */
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "test_file_support.h"

static struct err err;

static size_t entries_of(const struct dir *of)
{
    struct dir_list list = {0};
    assert_int_equal(dir_list(of, &list, &err), 0);
    size_t n = list.n;
    dir_list_free(&list);
    return n;
}

/* --- reading --------------------------------------------------------------------------------- */

static void a_file_is_read_whole_up_to_the_limit(void **state)
{
    (void)state;
    struct buffer got = BUFFER_EMPTY;
    put("x", "four");
    put("empty", "");
    assert_int_equal(dir_read(&dir, "x", 4, &got, &err), 0);
    assert_int_equal(got.size, 4);
    assert_int_equal(dir_read(&dir, "empty", 0, &got, &err), 0);
    assert_int_equal(got.size, 4);
    assert_failed(dir_read(&dir, "x", 3, &got, &err), ERR_FILE_TOO_BIG, "/x");
    assert_failed(dir_read(&dir, "none", 3, &got, &err), ERR_FILE_NOT_FOUND, "/none");
    buffer_free(&got);
    int fd = openat(dir.fd, "huge", O_WRONLY | O_CREAT, 0600);
    assert_int_equal(ftruncate(fd, (off_t)1 << 40), 0); /* sparse: too big without reading a byte */
    close(fd);
    fault_reset();
    assert_failed(dir_read(&dir, "huge", 1 << 20, &got, &err), ERR_FILE_TOO_BIG, "/huge");
    assert_int_equal(fault_count("file.read"), 0);
    assert_null(got.data);
}

static void a_file_whose_size_is_a_lie_is_read_to_the_limit(void **state)
{
    (void)state;
    struct buffer got =
        BUFFER_EMPTY; /* files of /proc say 0 bytes, as one that grows while it is read would */
    assert_int_equal(dir_read(&root, "/proc/self/status", 1 << 20, &got, &err), 0);
    assert_true(got.size > 100);
    buffer_free(&got);
    assert_failed(dir_read(&root, "/proc/self/status", 10, &got, &err), ERR_FILE_TOO_BIG,
                  "/proc/self/status");
    buffer_free(&got);
}

static void nothing_but_a_regular_file_is_opened(void **state)
{
    (void)state;
    struct buffer got = BUFFER_EMPTY;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", folder);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    close(listener);
    put("file", "secret");
    assert_int_equal(mkfifoat(dir.fd, "fifo", 0600), 0);
    assert_int_equal(dir_mkdir(&dir, "folder", 0755, &err), 0);
    assert_int_equal(dir_symlink(&dir, "file", "link", &err), 0);
    static const char *const names[] = {"fifo", "folder", "link", "socket"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_failed(dir_read(&dir, names[i], 100, &got, &err), ERR_FILE_NOT_REGULAR, names[i]);
        assert_failed(dir_read_at(&dir, names[i], 0, 100, &got, &err), ERR_FILE_NOT_REGULAR, names[i]);
        assert_failed(dir_append(&dir, names[i], "x", 1, 0600, &err), ERR_FILE_NOT_REGULAR, names[i]);
        assert_failed(dir_copy(&dir, names[i], &dir, "copy", NULL, &err), ERR_FILE_NOT_REGULAR, names[i]);
        assert_failed(dir_create(&dir, names[i], "x", 1, 0600, &err), ERR_FILE_EXISTS, names[i]);
        assert_failed(dir_replace(&dir, names[i], "x", 1, MODE_KEEP, NULL, &err), ERR_FILE_NOT_REGULAR,
                      names[i]);
    }
    assert_failed(dir_read(&root, "/dev/zero", 100, &got, &err), ERR_FILE_NOT_REGULAR, "/dev/zero");
    assert_text("file", "secret");
}

static void a_part_is_read_from_an_offset(void **state)
{
    (void)state;
    struct buffer got = BUFFER_EMPTY;
    put("x", "0123456789");
    static const struct {
        uint64_t offset, max;
        const char *text;
    } cases[] = {{0, 3, "012"}, {4, 3, "456"}, {8, 100, "89"}, {10, 5, ""}, {1 << 20, 5, ""}, {3, 0, ""}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        buffer_clear(&got);
        assert_int_equal(dir_read_at(&dir, "x", cases[i].offset, cases[i].max, &got, &err), 0);
        assert_int_equal(got.size, strlen(cases[i].text));
        if (got.size)
            assert_memory_equal(got.data, cases[i].text, got.size);
    }
    buffer_free(&got);
}

/* --- writing --------------------------------------------------------------------------------- */

static void a_file_is_created_only_where_there_is_none(void **state)
{
    (void)state;
    struct file_stat stat;
    assert_int_equal(dir_create(&dir, "x", "a\0b", 3, 0640, &err), 0);
    assert_int_equal(dir_stat(&dir, "x", &stat, &err), 0);
    assert_int_equal(stat.mode, 0640);
    assert_int_equal(stat.size, 3);
    assert_failed(dir_create(&dir, "x", "other", 5, 0600, &err), ERR_FILE_EXISTS, "/x");
    assert_int_equal(dir_symlink(&dir, "made-by-a-link", "link", &err), 0);
    assert_failed(dir_create(&dir, "link", "x", 1, 0600, &err), ERR_FILE_EXISTS, "/link");
    assert_false(is_there("made-by-a-link"));
}

static void a_full_disk_leaves_the_old_file_and_nothing_else(void **state)
{
    (void)state;
    put("x", "old");
    static const char *const points[] = {"file.write", "file.close"};
    for (size_t i = 0; i < 2; i++) {
        fault_arm(points[i], 1);
        assert_failed(dir_replace(&dir, "x", "new", 3, 0600, NULL, &err), ERR_FILE_FULL, "/x");
        assert_true(err.retryable);
        fault_arm(points[i], 1);
        assert_failed(dir_create(&dir, "y", "new", 3, 0600, &err), ERR_FILE_FULL, "/y");
        fault_arm(points[i], 1);
        assert_failed(dir_copy(&dir, "x", &dir, "z", NULL, &err), ERR_FILE_FULL, "/z");
        assert_text("x", "old");
        assert_int_equal(entries_of(&dir), 1);
    }
}

static void replacing_keeps_mode_and_owner_when_no_mode_is_given(void **state)
{
    (void)state;
    struct file_stat stat;
    put("x", "old");
    assert_int_equal(dir_chmod(&dir, "x", 0666, &err), 0);
    unsigned owner = geteuid() == 0 ? 65534 : geteuid();
    assert_int_equal(fchownat(dir.fd, "x", owner, (gid_t)-1, 0), 0);
    assert_int_equal(dir_replace(&dir, "x", "new", 3, MODE_KEEP, NULL, &err), 0);
    assert_text("x", "new");
    assert_int_equal(dir_stat(&dir, "x", &stat, &err), 0);
    assert_int_equal(stat.mode, 0666);
    assert_int_equal(stat.uid, owner);
    assert_int_equal(dir_replace(&dir, "x", "newer", 5, 0600, NULL, &err), 0);
    assert_int_equal(dir_stat(&dir, "x", &stat, &err), 0);
    assert_int_equal(stat.mode, 0600);
    assert_failed(dir_replace(&dir, "none", "x", 1, MODE_KEEP, NULL, &err), ERR_FILE_NOT_FOUND, "/none");
    assert_int_equal(dir_replace(&dir, "none", "x", 1, 0600, NULL, &err), 0);
}

static void a_replacement_replaces_a_link_and_not_its_target(void **state)
{
    (void)state;
    put("target", "old");
    assert_int_equal(dir_symlink(&dir, "target", "x", &err), 0);
    assert_int_equal(dir_replace(&dir, "x", "new", 3, 0600, NULL, &err), 0);
    assert_text("target", "old");
    assert_text("x", "new");
}

static void a_replacement_is_written_where_the_caller_says(void **state)
{
    (void)state;
    struct dir queue, beside, elsewhere;
    assert_int_equal(dir_mkdir(&dir, "queue", 0755, &err), 0);
    assert_int_equal(dir_mkdir(&dir, "beside", 0755, &err), 0);
    assert_int_equal(dir_open(&dir, "queue", &queue, &err), 0);
    assert_int_equal(dir_open(&dir, "beside", &beside, &err), 0);
    assert_int_equal(dir_replace(&queue, "x", "1", 1, 0600, &beside, &err), 0);
    assert_text("queue/x", "1");
    assert_int_equal(entries_of(&queue), 1);
    assert_int_equal(entries_of(&beside), 0);
    assert_int_equal(fchmodat(dir.fd, "queue", 0755, 0), 0);
    /* The folder of the temporary file is really used: it is removed, so nothing can be written. */
    assert_int_equal(dir_rmdir(&dir, "beside", &err), 0);
    assert_failed(dir_replace(&queue, "x", "2", 1, 0600, &beside, &err), ERR_FILE_GONE, "beside");
    assert_text("queue/x", "1");
    dir_close(&beside);
    if (dir_open(&root, "/dev/shm", &elsewhere, &err) == 0) {
        struct file_stat here, there;
        assert_int_equal(dir_stat(&queue, NULL, &here, &err), 0);
        assert_int_equal(dir_stat(&elsewhere, NULL, &there, &err), 0);
        size_t before = entries_of(&elsewhere);
        if (here.device != there.device) {
            assert_failed(dir_replace(&queue, "x", "2", 1, 0600, &elsewhere, &err), ERR_FILE_IO,
                          "file systems");
            assert_false(err.retryable);
        }
        assert_int_equal(entries_of(&elsewhere), before);
        dir_close(&elsewhere);
    }
    dir_close(&queue);
}

static void appending_makes_the_file_and_adds_to_its_end(void **state)
{
    (void)state;
    assert_int_equal(dir_append(&dir, "log", "a\n", 2, 0600, &err), 0);
    assert_int_equal(dir_append(&dir, "log", "b\n", 2, 0600, &err), 0);
    assert_text("log", "a\nb\n");
    fault_arm("file.write", 1);
    assert_failed(dir_append(&dir, "log", "c\n", 2, 0600, &err), ERR_FILE_FULL, "/log");
}

struct reader {
    atomic_bool stop;
    size_t reads, torn;
};

static void *read_on(void *argument)
{
    struct reader *reader = argument;
    struct err own;
    while (!atomic_load(&reader->stop)) {
        struct buffer got = BUFFER_EMPTY;
        bool whole = dir_read(&dir, "x", 1 << 20, &got, &own) == 0 && got.size == 100000;
        for (size_t i = 1; whole && i < got.size; i++)
            whole = got.data[i] == got.data[0];
        reader->torn += !whole;
        reader->reads++;
        buffer_free(&got);
    }
    return NULL;
}

static void a_reader_sees_the_old_or_the_new_file_and_never_a_part(void **state)
{
    (void)state;
    static char text[100000];
    struct reader reader = {.stop = false};
    pthread_t thread;
    memset(text, 'a', sizeof text);
    assert_int_equal(dir_create(&dir, "x", text, sizeof text, 0600, &err), 0);
    assert_int_equal(pthread_create(&thread, NULL, read_on, &reader), 0);
    for (int i = 0; i < 300; i++) {
        memset(text, 'a' + i % 26, sizeof text);
        assert_int_equal(dir_replace(&dir, "x", text, sizeof text, 0600, NULL, &err), 0);
    }
    atomic_store(&reader.stop, true);
    pthread_join(thread, NULL);
    assert_int_equal(reader.torn, 0);
    assert_int_equal(entries_of(&dir), 1);
}

/* --- copying --------------------------------------------------------------------------------- */

static void a_copy_has_the_contents_and_the_mode_and_replaces(void **state)
{
    (void)state;
    struct file_stat stat;
    struct buffer got = BUFFER_EMPTY;
    static char big[3 * 1024 * 1024 + 17];
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)(i * 7 + i / 251);
    assert_int_equal(dir_create(&dir, "big", big, sizeof big, 0600, &err), 0);
    assert_int_equal(dir_chmod(&dir, "big", 0751, &err), 0);
    put("copy", "old");
    assert_int_equal(dir_copy(&dir, "big", &dir, "copy", NULL, &err), 0);
    assert_int_equal(dir_read(&dir, "copy", sizeof big, &got, &err), 0);
    assert_int_equal(got.size, sizeof big);
    assert_memory_equal(got.data, big, sizeof big);
    buffer_free(&got);
    assert_int_equal(dir_stat(&dir, "copy", &stat, &err), 0);
    assert_int_equal(stat.mode, 0751);
    assert_failed(dir_copy(&dir, "none", &dir, "copy", NULL, &err), ERR_FILE_NOT_FOUND, "/none");
    assert_failed(dir_copy(&dir, "big", &dir, "no/copy", NULL, &err), ERR_FILE_NOT_FOUND, "no/copy");
}

static void a_cancelled_copy_leaves_nothing(void **state)
{
    (void)state;
    atomic_bool cancelled = true;
    put("x", "1");
    assert_failed(dir_copy(&dir, "x", &dir, "copy", &cancelled, &err), ERR_TASK_CANCELLED, "x");
    assert_int_equal(entries_of(&dir), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_file_is_read_whole_up_to_the_limit),
        TEST(a_file_whose_size_is_a_lie_is_read_to_the_limit),
        TEST(nothing_but_a_regular_file_is_opened),
        TEST(a_part_is_read_from_an_offset),
        TEST(a_file_is_created_only_where_there_is_none),
        TEST(a_full_disk_leaves_the_old_file_and_nothing_else),
        TEST(replacing_keeps_mode_and_owner_when_no_mode_is_given),
        TEST(a_replacement_replaces_a_link_and_not_its_target),
        TEST(a_replacement_is_written_where_the_caller_says),
        TEST(appending_makes_the_file_and_adds_to_its_end),
        TEST(a_reader_sees_the_old_or_the_new_file_and_never_a_part),
        TEST(a_copy_has_the_contents_and_the_mode_and_replaces),
        TEST(a_cancelled_copy_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
