/* Somebody else changes the tree between two system calls of host/file: at every one of them in turn.
 *
 * The fault points are our view into the middle of a call: this file has its own fault_hit, which fails
 * nothing and lets the other one act at the chosen pass. */
#include <errno.h>

#include "file/tree.h"
#include "test_file_support.h"

static struct err err;

static unsigned passes, act_at; /* of any point; 0: nobody acts */
static void (*act)(void);

bool fault_hit(const char *name)
{
    (void)name;
    int before = errno;
    if (++passes == act_at)
        act();
    errno = before;
    return false;
}

void fault_reset(void)
{
    passes = act_at = 0;
}

static void make_tree(void)
{
    fault_reset();
    assert_int_equal(
        run_shell("cd $FOLDER && rm -rf ./* && mkdir -p t/a/b/c1/e t/a/b/c2/e t/z outside/c1 outside/c2 "
                  "outside/b && touch t/1 t/a/2 t/a/b/3 t/a/b/c1/4 t/a/b/c2/5 && ln -s ../outside swap && "
                  "touch outside/kept outside/b/kept outside/c1/kept outside/c2/kept"),
        0);
}

static void swap_for_a_link(void)
{
    renameat2(dir.fd, "t/a", dir.fd, "swap", RENAME_EXCHANGE);
}

static void move_one_out(void)
{
    renameat(dir.fd, "t/a/b/c1", dir.fd, "outside/moved");
}

static void move_other_out(void)
{
    renameat(dir.fd, "t/a/b/c2", dir.fd, "outside/moved");
}

static void move_both_out(void)
{
    renameat(dir.fd, "t/a/b", dir.fd, "outside/moved");
}

static void add_a_file(void)
{
    close(openat(dir.fd, "t/a/b/new", O_WRONLY | O_CREAT, 0600));
}

static void add_a_folder_on_top(void)
{
    mkdirat(dir.fd, "t/new", 0700);
}

static void turn_a_file_into_a_folder(void)
{
    if (unlinkat(dir.fd, "t/a/2", 0) == 0)
        mkdirat(dir.fd, "t/a/2", 0700);
}

static void turn_a_folder_into_a_file(void)
{
    if (unlinkat(dir.fd, "t/z", AT_REMOVEDIR) == 0)
        close(openat(dir.fd, "t/z", O_WRONLY | O_CREAT, 0600));
}

static void remove_all(void)
{
    assert_int_equal(run_shell("rm -rf $FOLDER/t"), 0);
}

static void assert_outside_is_kept(const char *action)
{
    static const char *const kept[] = {"outside/kept", "outside/b/kept", "outside/c1/kept",
                                       "outside/c2/kept"};
    for (size_t i = 0; i < 4; i++) {
        if (!is_there(kept[i]))
            fail_msg("%s at system call %u: %s was removed", action, act_at, kept[i]);
    }
}

static void a_removal_touches_nothing_outside_whatever_others_do_meanwhile(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        void (*act)(void);
        bool succeeds; /* the change does not keep the tree from being removed */
    } actions[] = {
        {"swapped for a link", swap_for_a_link, false},
        {"moved out", move_one_out, false},
        {"moved out, the other", move_other_out, false},
        {"moved out, the parent", move_both_out, false},
        {"a new file", add_a_file, true},
        {"a new folder", add_a_folder_on_top, true},
        {"a file turned into a folder", turn_a_file_into_a_folder, true},
        {"a folder turned into a file", turn_a_folder_into_a_file, true},
        {"removed by another", remove_all, false},
    };
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++) {
        for (unsigned at = 1;; at++) {
            make_tree();
            size_t before = open_descriptors();
            act = actions[i].act;
            act_at = at;
            int status = tree_remove(&dir, "t", NULL, &err);
            assert_outside_is_kept(actions[i].name);
            assert_int_equal(open_descriptors(), before);
            if (actions[i].succeeds && (status == -1 || is_there("t")))
                fail_msg("%s at system call %u: %s", actions[i].name, at, err.message);
            if (passes < at)
                break;
        }
    }
}

static void a_measurement_counts_nothing_outside_whatever_others_do_meanwhile(void **state)
{
    (void)state;
    static void (*const actions[])(void) = {swap_for_a_link, move_one_out, move_other_out, remove_all};
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++) {
        for (unsigned at = 1;; at++) {
            struct tree_size size = {0};
            make_tree();
            act = actions[i];
            act_at = at;
            tree_measure(&dir, "t", NULL, &size, &err);
            if (size.entries > 13)
                fail_msg("change %zu at system call %u: %d entries", i, at, (int)size.entries);
            if (passes < at)
                break;
        }
    }
}

static void replace_lock_file(void)
{
    unlinkat(dir.fd, "lock", 0);
    close(openat(dir.fd, "lock", O_WRONLY | O_CREAT, 0600));
}

static void a_lock_is_on_the_file_that_has_the_name(void **state)
{
    (void)state;
    for (unsigned at = 1;; at++) {
        int lock_fd, second;
        struct stat locked, named;
        fault_reset();
        put("lock", "");
        fault_reset();
        act = replace_lock_file;
        act_at = at;
        assert_int_equal(dir_lock(&dir, "lock", &lock_fd, &err), 0);
        bool reached = passes >= at;
        act_at = 0;
        assert_int_equal(fstat(lock_fd, &locked), 0);
        assert_int_equal(fstatat(dir.fd, "lock", &named, 0), 0);
        assert_int_equal(locked.st_ino, named.st_ino);
        assert_failed(dir_lock(&dir, "lock", &second, &err), ERR_FILE_LOCKED, "/lock");
        file_unlock(lock_fd);
        if (!reached)
            break;
    }
}

static void turn_into_a_fifo(void)
{
    unlinkat(dir.fd, "x", 0);
    mkfifoat(dir.fd, "x", 0600);
}

static void turn_into_a_link(void)
{
    unlinkat(dir.fd, "x", 0);
    symlinkat("secret", dir.fd, "x");
}

static void a_file_that_turns_into_something_else_is_not_waited_for_nor_followed(void **state)
{
    (void)state;
    void (*const actions[])(void) = {turn_into_a_fifo, turn_into_a_link};
    for (size_t i = 0; i < 2; i++) {
        for (unsigned at = 1;; at++) {
            struct buffer got = BUFFER_EMPTY;
            fault_reset();
            put("secret", "secret");
            put("x", "plain");
            fault_reset();
            act = actions[i];
            act_at = at;
            int status = dir_read(&dir, "x", 100, &got, &err);
            if (status == 0)
                assert_string_equal(got.data, "plain");
            buffer_free(&got);
            if (passes < at)
                break;
        }
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_in_memory, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_removal_touches_nothing_outside_whatever_others_do_meanwhile),
        TEST(a_measurement_counts_nothing_outside_whatever_others_do_meanwhile),
        TEST(a_lock_is_on_the_file_that_has_the_name),
        TEST(a_file_that_turns_into_something_else_is_not_waited_for_nor_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
