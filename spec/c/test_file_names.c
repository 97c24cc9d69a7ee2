/* Directory handles, and the calls on the names in them (host/file/file.c). */
#include "test_file_support.h"

static struct err err;

/* --- handles --------------------------------------------------------------------------------- */

static void a_handle_stays_on_its_directory_when_that_is_renamed(void **state)
{
    (void)state;
    struct dir inner;
    assert_int_equal(dir_mkdir(&dir, "a", 0755, &err), 0);
    assert_int_equal(dir_open(&dir, "a", &inner, &err), 0);
    assert_int_equal(dir_rename(&dir, "a", &dir, "b", &err), 0);
    assert_int_equal(dir_mkdir(&dir, "a", 0755, &err), 0);
    assert_int_equal(dir_create(&inner, "x", "1", 1, 0600, &err), 0);
    assert_text("b/x", "1");
    assert_false(is_there("a/x"));
    dir_close(&inner);
}

static void a_link_to_a_directory_is_not_opened_as_one(void **state)
{
    (void)state;
    struct dir inner;
    assert_int_equal(dir_mkdir(&dir, "real", 0755, &err), 0);
    assert_int_equal(dir_symlink(&dir, "real", "link", &err), 0);
    assert_failed(dir_open(&dir, "link", &inner, &err), ERR_FILE_NOT_DIRECTORY, "/link");
    assert_int_equal(inner.fd, -1);
    assert_int_equal(dir_open(&dir, "link/.", &inner, &err), 0); /* asked for */
    assert_string_equal(strrchr(inner.path, '/'), "/link");
    dir_close(&inner);
    put("file", "");
    assert_failed(dir_open(&dir, "file", &inner, &err), ERR_FILE_NOT_DIRECTORY, "/file");
    assert_failed(dir_open(&dir, "none", &inner, &err), ERR_FILE_NOT_FOUND, "/none");
}

static void a_removed_directory_has_no_links_and_is_told_apart_from_a_missing_name(void **state)
{
    (void)state;
    struct dir inner;
    struct file_stat stat;
    assert_int_equal(dir_mkdir(&dir, "queue", 0755, &err), 0);
    assert_int_equal(dir_open(&dir, "queue", &inner, &err), 0);
    assert_failed(dir_stat(&inner, "x", &stat, &err), ERR_FILE_NOT_FOUND, "queue/x");
    put("message", "1");
    assert_int_equal(dir_rmdir(&dir, "queue", &err), 0);
    assert_int_equal(dir_mkdir(&dir, "queue", 0755, &err), 0); /* another life: must not be taken for it */
    assert_int_equal(dir_stat(&inner, NULL, &stat, &err), 0);
    assert_int_equal(stat.links, 0);
    assert_failed(dir_create(&inner, "x", "1", 1, 0600, &err), ERR_FILE_GONE, "queue");
    assert_failed(dir_rename(&dir, "message", &inner, "message", &err), ERR_FILE_GONE, "queue");
    assert_failed(dir_rename_exclusive(&dir, "message", &inner, "m", &err), ERR_FILE_GONE, "queue");
    assert_true(is_there("message"));
    dir_close(&inner);
}

static void a_name_can_not_leave_its_directory(void **state)
{
    (void)state;
    struct file_stat stat;
    struct dir inner;
    static const char *const names[] = {"",  "..", "../x", "a/../../x", "a/..", "/etc/passwd",
                                        "/", "x/", "a/"};
    assert_int_equal(dir_mkdir(&dir, "a", 0755, &err), 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_failed(dir_stat(&dir, names[i], &stat, &err), ERR_FILE_BAD_NAME, folder);
        assert_failed(dir_open(&dir, names[i], &inner, &err), ERR_FILE_BAD_NAME, folder);
        assert_failed(dir_unlink(&dir, names[i], &err), ERR_FILE_BAD_NAME, folder);
        assert_failed(dir_create(&dir, names[i], "", 0, 0600, &err), ERR_FILE_BAD_NAME, folder);
        assert_failed(dir_rename(&dir, "a", &dir, names[i], &err), ERR_FILE_BAD_NAME, folder);
    }
    static const char *const fine[] = {"..data", "a..",         "...",         ".x",
                                       "a/..b",  "line\nbreak", "caf\xc3\xa9", "\xff\xfe"};
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++) {
        assert_int_equal(dir_create(&dir, fine[i], "x", 1, 0600, &err), 0);
        assert_int_equal(dir_stat(&dir, fine[i], &stat, &err), 0);
    }
}

static void the_root_handle_takes_absolute_names(void **state)
{
    (void)state;
    struct dir inner, second;
    struct file_stat stat;
    assert_int_equal(dir_stat(&root, folder, &stat, &err), 0);
    assert_int_equal(stat.kind, FILE_DIRECTORY);
    assert_int_equal(dir_open(&root, folder, &inner, &err), 0);
    assert_string_equal(inner.path, folder);
    assert_int_equal(dir_mkdir(&inner, "sub", 0700, &err), 0);
    assert_int_equal(dir_open(&inner, "sub", &second, &err), 0);
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/sub", folder);
    assert_string_equal(second.path, path);
    dir_close(&second);
    dir_close(&inner);
    dir_close(&inner); /* twice is allowed */
    assert_int_equal(dir_stat(&root, NULL, &stat, &err), 0);
    assert_int_equal(dir_duplicate(&root, &inner, &err), 0);
    assert_int_equal(inner.fd, AT_FDCWD);
    dir_close(&inner);
}

static void every_descriptor_is_closed_on_exec(void **state)
{
    (void)state;
    struct dir second;
    int lock_fd;
    assert_int_equal(dir_duplicate(&dir, &second, &err), 0);
    assert_int_equal(dir_lock(&dir, "lock", &lock_fd, &err), 0);
    int all[] = {dir.fd, second.fd, lock_fd};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        assert_true(fcntl(all[i], F_GETFD) & FD_CLOEXEC);
    file_unlock(lock_fd);
    dir_close(&second);
}

static void a_long_path_keeps_the_reason_in_the_message(void **state)
{
    (void)state;
    struct file_stat stat;
    char name[2000];
    for (size_t i = 0; i < sizeof name - 1; i++)
        name[i] = i % 100 == 99 ? '/' : 'n';
    name[sizeof name - 1] = '\0';
    assert_failed(dir_stat(&dir, name, &stat, &err), ERR_FILE_NOT_FOUND, "No such file");
    assert_non_null(strstr(err.message, folder));
    memset(name, 'n', 300);
    name[300] = '\0';
    assert_failed(dir_stat(&dir, name, &stat, &err), ERR_FILE_BAD_NAME, "too long");
    memset(name, 'n', sizeof name - 1);
    assert_failed(dir_make_path(&dir, name, 0755, &err), ERR_FILE_BAD_NAME, "too long");
}

/* --- looking --------------------------------------------------------------------------------- */

static void stat_tells_the_kind_of_each_thing_and_follows_no_link(void **state)
{
    (void)state;
    struct file_stat stat;
    put("file", "four");
    assert_int_equal(dir_mkdir(&dir, "folder", 0750, &err), 0);
    assert_int_equal(dir_symlink(&dir, "file", "link", &err), 0);
    assert_int_equal(mkfifoat(dir.fd, "fifo", 0600), 0);
    assert_int_equal(dir_stat(&dir, "file", &stat, &err), 0);
    assert_int_equal(stat.kind, FILE_REGULAR);
    assert_int_equal(stat.size, 4);
    assert_int_equal(stat.mode, 0644);
    assert_int_equal(stat.links, 1);
    assert_int_equal(stat.uid, geteuid());
    assert_int_equal(dir_stat(&dir, "folder", &stat, &err), 0);
    assert_int_equal(stat.kind, FILE_DIRECTORY);
    assert_int_equal(stat.mode, 0750);
    assert_int_equal(dir_stat(&dir, "link", &stat, &err), 0);
    assert_int_equal(stat.kind, FILE_LINK);
    assert_int_equal(dir_stat(&dir, "fifo", &stat, &err), 0);
    assert_int_equal(stat.kind, FILE_OTHER);
}

static void a_list_is_sorted_by_bytes_and_leaves_out_nothing(void **state)
{
    (void)state;
    struct dir_list list = {0};
    put("b", "22");
    put("a\nnew line", "");
    put(".hidden", "");
    put("\xff", "");
    put("B", "");
    assert_int_equal(dir_symlink(&dir, "nowhere", "z", &err), 0);
    assert_int_equal(dir_list(&dir, &list, &err), 0);
    static const char *const expected[] = {".hidden", "B", "a\nnew line", "b", "z", "\xff"};
    assert_int_equal(list.n, 6);
    for (size_t i = 0; i < list.n; i++)
        assert_string_equal(list.entries[i].name, expected[i]);
    assert_int_equal(list.entries[3].stat.size, 2);
    assert_int_equal(list.entries[4].stat.kind, FILE_LINK);
    dir_list_free(&list);
    assert_int_equal(dir_list(&dir, &list, &err), 0); /* again, from the start */
    assert_int_equal(list.n, 6);
    dir_list_free(&list);
}

static void a_time_is_kept_to_the_millisecond_and_read_rounded_down(void **state)
{
    (void)state;
    struct file_stat stat;
    put("x", "");
    static const int64_t times[] = {0, 1, 999, 1763000000123, -1, -1000, -1001, 4102444800001};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        assert_int_equal(dir_touch(&dir, "x", times[i], &err), 0);
        assert_int_equal(dir_stat(&dir, "x", &stat, &err), 0);
        assert_true(stat.mtime_ms == times[i]);
    }
    struct timespec fine[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 5, .tv_nsec = 1999999}};
    assert_int_equal(utimensat(dir.fd, "x", fine, 0), 0);
    assert_int_equal(dir_stat(&dir, "x", &stat, &err), 0);
    assert_true(stat.mtime_ms == 5001);
    assert_failed(dir_touch(&dir, "none", 1, &err), ERR_FILE_NOT_FOUND, "/none");
    assert_false(is_there("none"));
}

/* --- changing -------------------------------------------------------------------------------- */

static void an_exclusive_rename_never_replaces(void **state)
{
    (void)state;
    for (int fallback = 0; fallback < 2; fallback++) { /* also where the file system knows no such rename */
        put("a", "1");
        put("b", "2");
        fault_arm("file.noreplace", fallback);
        assert_failed(dir_rename_exclusive(&dir, "a", &dir, "b", &err), ERR_FILE_EXISTS, "/b");
        assert_text("a", "1");
        assert_text("b", "2");
        fault_arm("file.noreplace", fallback);
        assert_int_equal(dir_rename_exclusive(&dir, "a", &dir, "c", &err), 0);
        assert_false(is_there("a"));
        assert_text("c", "1");
        fault_arm("file.noreplace", fallback);
        assert_failed(dir_rename_exclusive(&dir, "none", &dir, "d", &err), ERR_FILE_NOT_FOUND, "/none");
        assert_int_equal(dir_unlink(&dir, "c", &err), 0);
    }
    assert_int_equal(dir_mkdir(&dir, "folder", 0755, &err), 0);
    fault_arm("file.noreplace", 1);
    assert_failed(dir_rename_exclusive(&dir, "folder", &dir, "other", &err), ERR_FILE_IO, "/folder");
    assert_int_equal(dir_rename_exclusive(&dir, "folder", &dir, "other", &err), 0);
}

static void an_exclusive_rename_that_can_not_give_up_the_old_name_has_no_new_one(void **state)
{
    (void)state;
    put("a", "1");
    fault_arm("file.noreplace", 1);
    fault_arm("file.unlink", 1);
    assert_failed(dir_rename_exclusive(&dir, "a", &dir, "b", &err), ERR_FILE_IO, "/a");
    assert_true(is_there("a"));
    assert_false(is_there("b"));
}

static void names_are_renamed_linked_and_removed(void **state)
{
    (void)state;
    struct file_stat stat;
    char target[4096];
    put("a", "1");
    put("old", "2");
    assert_int_equal(dir_rename(&dir, "a", &dir, "old", &err), 0);
    assert_text("old", "1");
    assert_int_equal(dir_link(&dir, "old", &dir, "second", &err), 0);
    assert_int_equal(dir_stat(&dir, "second", &stat, &err), 0);
    assert_int_equal(stat.links, 2);
    assert_failed(dir_link(&dir, "old", &dir, "second", &err), ERR_FILE_EXISTS, "/second");
    assert_int_equal(dir_symlink(&dir, "any where", "link", &err), 0);
    assert_failed(dir_symlink(&dir, "x", "link", &err), ERR_FILE_EXISTS, "/link");
    assert_int_equal(dir_readlink(&dir, "link", target, &err), 0);
    assert_string_equal(target, "any where");
    assert_failed(dir_readlink(&dir, "old", target, &err), ERR_FILE_NOT_REGULAR, "/old");
    assert_int_equal(dir_unlink(&dir, "link", &err), 0);
    assert_failed(dir_unlink(&dir, "link", &err), ERR_FILE_NOT_FOUND, "/link");
    assert_int_equal(dir_mkdir(&dir, "d", 0755, &err), 0);
    assert_failed(dir_mkdir(&dir, "d", 0755, &err), ERR_FILE_EXISTS, "/d");
    assert_failed(dir_unlink(&dir, "d", &err), ERR_FILE_NOT_REGULAR, "/d");
    put("d/x", "");
    assert_failed(dir_rmdir(&dir, "d", &err), ERR_FILE_NOT_EMPTY, "/d");
    assert_int_equal(dir_unlink(&dir, "d/x", &err), 0);
    assert_int_equal(dir_rmdir(&dir, "d", &err), 0);
}

static void a_path_is_made_with_its_parents_and_twice(void **state)
{
    (void)state;
    struct file_stat stat;
    assert_int_equal(dir_make_path(&dir, "a/b//c", 0700, &err), 0);
    assert_int_equal(dir_make_path(&dir, "a/b/c", 0755, &err), 0);
    assert_int_equal(dir_stat(&dir, "a/b/c", &stat, &err), 0);
    assert_int_equal(stat.mode, 0700);
    put("a/file", "");
    assert_failed(dir_make_path(&dir, "a/file/x", 0700, &err), ERR_FILE_NOT_DIRECTORY, "a/file");
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/by/root", folder);
    assert_int_equal(dir_make_path(&root, path, 0700, &err), 0);
    assert_true(is_there("by/root"));
    assert_failed(dir_make_path(&dir, "x/../../y", 0700, &err), ERR_FILE_BAD_NAME, folder);
}

static void a_mode_is_set_exactly_and_never_through_a_link(void **state)
{
    (void)state;
    struct file_stat stat;
    put("x", "");
    assert_int_equal(dir_chmod(&dir, "x", 0666, &err), 0);
    assert_int_equal(dir_stat(&dir, "x", &stat, &err), 0);
    assert_int_equal(stat.mode, 0666);
    assert_int_equal(dir_symlink(&dir, "x", "link", &err), 0);
    assert_failed(dir_chmod(&dir, "link", 0600, &err), ERR_FILE_NOT_REGULAR, "/link");
    assert_int_equal(dir_stat(&dir, "x", &stat, &err), 0);
    assert_int_equal(stat.mode, 0666);
}

static int denied_as_nobody(void)
{
    struct err own;
    if (dir_chmod(&dir, "closed", 0500, &own) == -1)
        return 1;
    if (dir_create(&dir, "closed/x", "", 0, 0600, &own) != -1 || own.code != ERR_FILE_DENIED)
        return 2;
    return strstr(own.message, "closed/x") ? 0 : 3;
}

static void a_folder_without_write_permission_is_told_as_denied(void **state)
{
    (void)state;
    assert_int_equal(dir_mkdir(&dir, "closed", 0755, &err), 0);
    as_nobody(denied_as_nobody);
}

/* --- locks ----------------------------------------------------------------------------------- */

static void a_lock_is_held_by_one_at_a_time(void **state)
{
    (void)state;
    int first, second;
    struct file_stat stat;
    assert_int_equal(dir_lock(&dir, "lock", &first, &err), 0);
    assert_int_equal(dir_stat(&dir, "lock", &stat, &err), 0);
    assert_int_equal(stat.mode, 0600);
    assert_failed(dir_lock(&dir, "lock", &second, &err), ERR_FILE_LOCKED, "/lock");
    assert_true(err.retryable);
    file_unlock(first);
    assert_int_equal(dir_lock(&dir, "lock", &second, &err), 0);
    file_unlock(second);
    assert_true(is_there("lock"));
}

static void a_lock_ends_although_a_child_still_has_its_descriptor(void **state)
{
    (void)state;
    int lock_fd, again, ends[2];
    assert_int_equal(dir_lock(&dir, "lock", &lock_fd, &err), 0);
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        close(ends[1]);
        _exit(read(ends[0], &byte, 1) == 0 ? 0 : 1);
    }
    file_unlock(lock_fd);
    int status = dir_lock(&dir, "lock", &again, &err);
    close(ends[0]);
    close(ends[1]);
    waitpid(child, NULL, 0);
    assert_int_equal(status, 0);
    file_unlock(again);
}

static void a_lock_on_something_else_than_a_file_is_refused(void **state)
{
    (void)state;
    int lock_fd;
    assert_int_equal(mkfifoat(dir.fd, "fifo", 0600), 0);
    assert_int_equal(dir_symlink(&dir, "elsewhere", "link", &err), 0);
    assert_failed(dir_lock(&dir, "fifo", &lock_fd, &err), ERR_FILE_NOT_REGULAR, "/fifo");
    assert_failed(dir_lock(&dir, "link", &lock_fd, &err), ERR_FILE_NOT_REGULAR, "/link");
    assert_false(is_there("elsewhere"));
}

static int lock_as_nobody(void)
{
    struct err own;
    int lock_fd;
    return dir_lock(&dir, "lock", &lock_fd, &own) == 0 ? 0 : 1;
}

static void a_lock_file_that_may_only_be_read_can_be_locked(void **state)
{
    (void)state;
    put("lock", "");
    assert_int_equal(dir_chmod(&dir, "lock", 0444, &err), 0);
    as_nobody(lock_as_nobody);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_handle_stays_on_its_directory_when_that_is_renamed),
        TEST(a_link_to_a_directory_is_not_opened_as_one),
        TEST(a_removed_directory_has_no_links_and_is_told_apart_from_a_missing_name),
        TEST(a_name_can_not_leave_its_directory),
        TEST(the_root_handle_takes_absolute_names),
        TEST(every_descriptor_is_closed_on_exec),
        TEST(a_long_path_keeps_the_reason_in_the_message),
        TEST(stat_tells_the_kind_of_each_thing_and_follows_no_link),
        TEST(a_list_is_sorted_by_bytes_and_leaves_out_nothing),
        TEST(a_time_is_kept_to_the_millisecond_and_read_rounded_down),
        TEST(an_exclusive_rename_never_replaces),
        TEST(an_exclusive_rename_that_can_not_give_up_the_old_name_has_no_new_one),
        TEST(names_are_renamed_linked_and_removed),
        TEST(a_path_is_made_with_its_parents_and_twice),
        TEST(a_mode_is_set_exactly_and_never_through_a_link),
        TEST(a_folder_without_write_permission_is_told_as_denied),
        TEST(a_lock_is_held_by_one_at_a_time),
        TEST(a_lock_ends_although_a_child_still_has_its_descriptor),
        TEST(a_lock_on_something_else_than_a_file_is_refused),
        TEST(a_lock_file_that_may_only_be_read_can_be_locked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
