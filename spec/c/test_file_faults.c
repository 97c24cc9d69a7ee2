/* Every call of host/file, with every system call that it makes failing in turn: the call fails cleanly or
 * goes on, and leaves no descriptor, no temporary file and no memory. */
#include "file/tree.h"
#include "file/watch.h"
#include "test_file_support.h"

static struct err err;
static struct dir_list list;
static struct buffer text;
static struct dir other;
static int descriptor;

static int do_open(void)
{
    int status = dir_open(&dir, "tree", &other, &err);
    dir_close(&other);
    return status;
}

static int do_open_root(void)
{
    int status = dir_open_root(&other, &err);
    dir_close(&other);
    return status;
}

static int do_duplicate(void)
{
    int status = dir_duplicate(&dir, &other, &err);
    dir_close(&other);
    return status;
}

static int do_stat(void)
{
    struct file_stat stat;
    return dir_stat(&dir, "x", &stat, &err);
}

static int do_list(void)
{
    int status = dir_list(&dir, &list, &err);
    dir_list_free(&list);
    return status;
}

static int do_read(void)
{
    int status = dir_read(&dir, "x", 100, &text, &err);
    buffer_free(&text);
    return status;
}

static int do_read_at(void)
{
    int status = dir_read_at(&dir, "x", 1, 100, &text, &err);
    buffer_free(&text);
    return status;
}

static int do_create(void)
{
    return dir_create(&dir, "new", "text", 4, 0600, &err);
}

static int do_replace(void)
{
    return dir_replace(&dir, "x", "text", 4, MODE_KEEP, NULL, &err);
}

static int do_append(void)
{
    return dir_append(&dir, "x", "text", 4, 0600, &err);
}

static int do_copy(void)
{
    return dir_copy(&dir, "x", &dir, "tree/copy", NULL, &err);
}

static int do_rename(void)
{
    return dir_rename(&dir, "x", &dir, "new", &err);
}

static int do_rename_exclusive(void)
{
    return dir_rename_exclusive(&dir, "x", &dir, "new", &err);
}

static int do_link(void)
{
    return dir_link(&dir, "x", &dir, "new", &err);
}

static int do_symlink(void)
{
    return dir_symlink(&dir, "x", "new", &err);
}

static int do_readlink(void)
{
    char target[4096];
    return dir_readlink(&dir, "tree/link", target, &err);
}

static int do_unlink(void)
{
    return dir_unlink(&dir, "x", &err);
}

static int do_make_path(void)
{
    return dir_make_path(&dir, "a/b/c", 0755, &err);
}

static int do_mkdir(void)
{
    return dir_mkdir(&dir, "new", 0755, &err);
}

static int do_rmdir(void)
{
    return dir_rmdir(&dir, "tree/a/empty", &err);
}

static int do_touch(void)
{
    return dir_touch(&dir, "x", 1000, &err);
}

static int do_chmod(void)
{
    return dir_chmod(&dir, "x", 0600, &err);
}

static int do_lock(void)
{
    int status = dir_lock(&dir, "x", &descriptor, &err);
    if (status == 0)
        file_unlock(descriptor);
    return status;
}

static int do_remove_tree(void)
{
    return tree_remove(&dir, "tree", NULL, &err);
}

static int do_measure(void)
{
    struct tree_size size;
    return tree_measure(&dir, "tree", NULL, &size, &err);
}

static int do_watch(void)
{
    int watch_fd = watch_open(&err);
    if (watch_fd == -1)
        return -1;
    int status = watch_add(watch_fd, &dir, &err);
    close(watch_fd);
    return status;
}

static const struct {
    const char *name;
    int (*run)(void);
} calls[] = {
#define CALL_OF(name)                                                                                        \
    {                                                                                                        \
#name, do_##name                                                                                     \
    }
    CALL_OF(open),
    CALL_OF(open_root),
    CALL_OF(duplicate),
    CALL_OF(stat),
    CALL_OF(list),
    CALL_OF(read),
    CALL_OF(read_at),
    CALL_OF(create),
    CALL_OF(replace),
    CALL_OF(append),
    CALL_OF(copy),
    CALL_OF(rename),
    CALL_OF(rename_exclusive),
    CALL_OF(link),
    CALL_OF(symlink),
    CALL_OF(readlink),
    CALL_OF(unlink),
    CALL_OF(make_path),
    CALL_OF(mkdir),
    CALL_OF(rmdir),
    CALL_OF(touch),
    CALL_OF(chmod),
    CALL_OF(lock),
    CALL_OF(remove_tree),
    CALL_OF(measure),
    CALL_OF(watch),
};
#define N_CALLS (sizeof calls / sizeof calls[0])

static void make_files(void)
{
    assert_int_equal(
        run_shell("cd $FOLDER && rm -rf ./* && mkdir -p tree/a/b tree/a/empty && echo text > x && "
                  "touch tree/1 tree/a/2 && ln tree/1 tree/a/b/same && ln -s 1 tree/link"),
        0);
}

static void assert_no_temporary_file(const char *call, const char *point, unsigned nth)
{
    fault_reset();
    if (run_shell("test -z \"$(find $FOLDER -mindepth 1 -name '.*')\"") != 0)
        fail_msg("%s left a temporary file when %s failed at its pass %u", call, point, nth);
}

/* Fails the call at each pass of this point. */
static unsigned fail_each_pass(size_t call, const char *point)
{
    for (unsigned nth = 1;; nth++) {
        make_files();
        size_t before = open_descriptors();
        memset(&err, 0, sizeof err);
        fault_reset();
        fault_arm(point, nth);
        int status = calls[call].run();
        bool reached = fault_count(point) >= nth;
        if (open_descriptors() != before)
            fail_msg("%s left a descriptor when %s failed at its pass %u", calls[call].name, point, nth);
        if (status == -1 && (err.code == ERR_NONE || !err.message[0]))
            fail_msg("%s said no reason when %s failed at its pass %u", calls[call].name, point, nth);
        assert_no_temporary_file(calls[call].name, point, nth);
        if (!reached)
            return nth - 1;
    }
}

static void every_failure_is_clean(void **state)
{
    (void)state;
    unsigned failures = 0;
    for (size_t i = 0; i < N_CALLS; i++) {
        make_files();
        fault_reset();
        if (calls[i].run() != 0)
            fail_msg("%s: %s", calls[i].name, err.message);
        char *names = fault_names();
        assert_true(names && *names); /* no call without a fault point */
        char *rest = names;
        for (char *point; (point = strsep(&rest, " ")) != NULL;)
            failures += fail_each_pass(i, point);
        free(names);
    }
    assert_true(failures >= N_CALLS);
}

static void a_failed_write_changes_nothing_that_is_there(void **state)
{
    (void)state;
    static const char *const points[] = {"file.open", "file.write", "file.close", "file.rename",
                                         "file.chmod"};
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        make_files();
        fault_reset();
        fault_arm(points[i], 1);
        assert_int_equal(do_replace(), -1);
        assert_text("x", "text\n");
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_in_memory, teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_failure_is_clean),
        TEST(a_failed_write_changes_nothing_that_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
