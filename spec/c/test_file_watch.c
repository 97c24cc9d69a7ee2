/* Hints that something changed in a directory (host/file/watch.c). */
#include "file/watch.h"

#include "test_file_support.h"

static struct err err;

static void every_kind_of_change_is_hinted_at_once_and_once(void **state)
{
    (void)state;
    int watch_fd = watch_open(&err);
    assert_true(fcntl(watch_fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(watch_add(watch_fd, &dir, &err), 0);
    assert_false(watch_take(watch_fd));
    static const char *const changes[] = {
        "touch x", "echo 1 > x",    "echo 2 >> x",
        "mv x y",  "touch -d @5 y", "chmod 600 y",
        "ln y z",  "mkdir d",       "rm y",
        "rmdir d", "ln -s a l",     "mv l /tmp/moonrunner-moved-$$ && rm /tmp/moonrunner-moved-$$"};
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        char command[256];
        snprintf(command, sizeof command, "cd $FOLDER && %s", changes[i]);
        assert_int_equal(run_shell(command), 0);
        if (!watch_take(watch_fd))
            fail_msg("%s was not noticed", changes[i]);
        assert_false(watch_take(watch_fd));
    }
    assert_int_equal(run_shell("cd $FOLDER && cat z > /dev/null && ls > /dev/null"), 0);
    assert_false(watch_take(watch_fd));
    close(watch_fd);
}

static void one_watch_serves_several_directories_after_their_handles_are_closed(void **state)
{
    (void)state;
    struct dir first, second;
    int watch_fd = watch_open(&err);
    assert_int_equal(run_shell("cd $FOLDER && mkdir a b unwatched"), 0);
    assert_int_equal(dir_open(&dir, "a", &first, &err), 0);
    assert_int_equal(dir_open(&dir, "b", &second, &err), 0);
    assert_int_equal(watch_add(watch_fd, &first, &err), 0);
    assert_int_equal(watch_add(watch_fd, &second, &err), 0);
    assert_int_equal(watch_add(watch_fd, &second, &err), 0);
    dir_close(&first);
    dir_close(&second);
    assert_int_equal(dir_rename(&dir, "a", &dir, "renamed", &err), 0);
    watch_take(watch_fd);
    put("unwatched/x", "");
    assert_false(watch_take(watch_fd));
    put("renamed/x", "");
    assert_true(watch_take(watch_fd));
    put("b/x", "");
    assert_true(watch_take(watch_fd));
    assert_int_equal(run_shell("rm -r $FOLDER/b"), 0);
    assert_true(watch_take(watch_fd));
    close(watch_fd);
}

static void more_changes_than_the_kernel_keeps_are_still_a_hint(void **state)
{
    (void)state;
    int watch_fd = watch_open(&err);
    assert_int_equal(watch_add(watch_fd, &dir, &err), 0);
    for (int i = 0; i < 20000; i++) { /* fs.inotify.max_queued_events is 16384 */
        char name[16];
        snprintf(name, sizeof name, "%d", i % 2);
        assert_int_equal(dir_mkdir(&dir, name, 0755, &err), 0);
        assert_int_equal(dir_rmdir(&dir, name, &err), 0);
    }
    assert_true(watch_take(watch_fd));
    assert_false(watch_take(watch_fd));
    put("x", "");
    assert_true(watch_take(watch_fd));
    close(watch_fd);
}

static void what_can_not_be_watched_says_which_setting_to_raise(void **state)
{
    (void)state;
    fault_arm("file.watch", 1);
    assert_failed(watch_open(&err), ERR_FILE_IO, "max_user_instances");
    int watch_fd = watch_open(&err);
    fault_arm("file.watch", 1);
    assert_failed(watch_add(watch_fd, &dir, &err), ERR_FILE_IO, "max_user_watches");
    assert_non_null(strstr(err.message, folder));
    close(watch_fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_in_memory, teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_kind_of_change_is_hinted_at_once_and_once),
        TEST(one_watch_serves_several_directories_after_their_handles_are_closed),
        TEST(more_changes_than_the_kernel_keeps_are_still_a_hint),
        TEST(what_can_not_be_watched_says_which_setting_to_raise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
