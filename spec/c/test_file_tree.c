/* Removing and measuring whole trees (host/file/tree.c). */
#include <pthread.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "file/tree.h"
#include "test_file_support.h"

static struct err err;

/* Makes `levels` folders in each other, and a file in each. */
static void make_deep(const char *top, size_t levels)
{
    assert_int_equal(mkdirat(dir.fd, top, 0755), 0);
    int fd = openat(dir.fd, top, O_RDONLY | O_DIRECTORY);
    for (size_t i = 0; i < levels; i++) {
        assert_int_equal(mkdirat(fd, "d", 0755), 0);
        close(openat(fd, "f", O_WRONLY | O_CREAT, 0600));
        int next = openat(fd, "d", O_RDONLY | O_DIRECTORY);
        assert_true(next >= 0);
        close(fd);
        fd = next;
    }
    close(fd);
}

/* --- removing -------------------------------------------------------------------------------- */

static void a_tree_a_file_a_link_and_nothing_are_all_removed(void **state)
{
    (void)state;
    assert_int_equal(
        run_shell("cd $FOLDER && mkdir -p t/a/b t/empty && touch t/1 t/a/2 t/a/b/3 && mkfifo t/a/fifo && "
                  "touch \"t/a/$(printf 'new\\nline')\" t/a/-rf \"t/a/*\" && touch file && ln -s t link"),
        0);
    assert_int_equal(tree_remove(&dir, "link", NULL, &err), 0);
    assert_false(is_there("link"));
    assert_true(is_there("t/a/b/3"));
    assert_int_equal(tree_remove(&dir, "t", NULL, &err), 0);
    assert_false(is_there("t"));
    assert_int_equal(tree_remove(&dir, "file", NULL, &err), 0);
    assert_false(is_there("file"));
    assert_int_equal(tree_remove(&dir, "none", NULL, &err), 0);
    assert_int_equal(tree_remove(&dir, "none/at/all", NULL, &err), 0);
}

static void a_link_in_a_tree_is_removed_and_never_followed(void **state)
{
    (void)state;
    assert_int_equal(
        run_shell("cd $FOLDER && mkdir -p outside/deep t/a && touch outside/kept outside/deep/kept && "
                  "ln -s ../outside t/out && ln -s ../../outside/kept t/a/file && ln -s . t/a/self && "
                  "ln -s $FOLDER/outside t/a/absolute && ln -s /nowhere t/a/dangling"),
        0);
    assert_int_equal(tree_remove(&dir, "t", NULL, &err), 0);
    assert_false(is_there("t"));
    assert_true(is_there("outside/kept"));
    assert_true(is_there("outside/deep/kept"));
}

static void a_name_that_would_go_through_a_link_is_refused(void **state)
{
    (void)state;
    struct tree_size size;
    assert_int_equal(run_shell("cd $FOLDER && mkdir outside && touch outside/kept && ln -s outside link"), 0);
    static const char *const names[] = {"link/.", "link/", ".", "outside/.", "outside/..", "..", ""};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_failed(tree_remove(&dir, names[i], NULL, &err), ERR_FILE_BAD_NAME, folder);
        assert_failed(tree_measure(&dir, names[i], NULL, &size, &err), ERR_FILE_BAD_NAME, folder);
    }
    assert_failed(tree_remove(&root, "/", NULL, &err), ERR_FILE_BAD_NAME, "/");
    assert_failed(tree_remove(&root, "..", NULL, &err), ERR_FILE_BAD_NAME, "..");
    assert_true(is_there("outside/kept"));
}

static void ten_thousand_levels_are_removed_with_a_handful_of_descriptors(void **state)
{
    (void)state;
    struct rlimit before, few;
    struct tree_size size;
    make_deep("t", 10000);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int highest = dup(dir.fd);
    close(highest);
    few = (struct rlimit){.rlim_cur = (rlim_t)highest + 4, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    int measured = tree_measure(&dir, "t", NULL, &size, &err);
    int removed = tree_remove(&dir, "t", NULL, &err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(measured, 0);
    assert_int_equal(size.entries, 20001);
    assert_int_equal(removed, 0);
    assert_false(is_there("t"));
}

static void a_folder_of_many_folders_is_removed(void **state)
{
    (void)state;
    assert_int_equal(
        run_shell("cd $FOLDER && mkdir t && cd t && seq 3000 | xargs mkdir && seq 3001 6000 | xargs touch"),
        0);
    assert_int_equal(tree_remove(&dir, "t", NULL, &err), 0);
    assert_false(is_there("t"));
}

static int remove_closed_folders(void)
{
    struct err own;
    if (run_shell("cd $FOLDER && mkdir -p t/none/in t/fixed/in t/blind && touch t/none/in/1 t/fixed/in/2 "
                  "t/blind/3 && "
                  "chmod 0000 t/none/in && chmod 0500 t/fixed/in t/fixed && chmod 0300 t/blind && chmod 0000 "
                  "t/none && "
                  "chmod 0500 t") != 0)
        return 1;
    if (tree_remove(&dir, "t", NULL, &own) == -1)
        return 2;
    return is_there("t") ? 3 : 0;
}

static void folders_closed_to_their_owner_are_removed(void **state)
{
    (void)state;
    as_nobody(remove_closed_folders);
}

static int remove_from_a_closed_parent(void)
{
    struct err own;
    if (run_shell("cd $FOLDER && mkdir -p p/t/a && touch p/t/a/1 p/t/2 && chmod 0555 p") != 0)
        return 1;
    if (tree_remove(&dir, "p/t", NULL, &own) != -1 || own.code != ERR_FILE_DENIED)
        return 2;
    if (is_there("p/t/a") || is_there("p/t/2") || !is_there("p/t")) /* all that may be removed is */
        return 3;
    struct file_stat parent;
    if (dir_stat(&dir, "p", &parent, &own) == -1 || parent.mode != 0555)
        return 4;
    return strstr(own.message, "p/t") ? 0 : 5;
}

static void what_can_not_be_removed_does_not_keep_the_rest(void **state)
{
    (void)state;
    as_nobody(remove_from_a_closed_parent);
}

static void the_first_entry_that_stays_is_named(void **state)
{
    (void)state;
    assert_int_equal(run_shell("cd $FOLDER && mkdir -p t/a/b && touch t/a/b/only"), 0);
    fault_arm("file.unlink", 2); /* the first is the attempt to remove t as a file */
    assert_failed(tree_remove(&dir, "t", NULL, &err), ERR_FILE_IO, "t/a/b/only");
    assert_true(is_there("t/a/b/only"));
    assert_int_equal(tree_remove(&dir, "t", NULL, &err), 0);
}

static void another_file_system_in_the_tree_is_not_touched(void **state)
{
    (void)state;
    char path[PATH_MAX];
    struct tree_size size;
    assert_int_equal(run_shell("cd $FOLDER && mkdir -p t/a/mounted t/b && touch t/b/1"), 0);
    snprintf(path, sizeof path, "%s/t/a/mounted", folder);
    if (mount("none", path, "tmpfs", 0, "size=64k") == -1) {
        puts("skipped: needs the right to mount");
        skip();
    }
    put("t/a/mounted/kept", "1");
    int status = tree_remove(&dir, "t", NULL, &err);
    bool kept = is_there("t/a/mounted/kept");
    int measured = tree_measure(&dir, "t", NULL, &size, NULL);
    umount(path);
    assert_int_equal(status, -1);
    assert_non_null(strstr(err.message, "t/a/mounted: another file system"));
    assert_true(kept);
    assert_false(is_there("t/b"));
    assert_int_equal(measured, 0);
    assert_int_equal(size.unread, 1);
    assert_int_equal(tree_remove(&dir, "t", NULL, &err), 0);
}

static void a_cancelled_removal_stops_between_entries(void **state)
{
    (void)state;
    atomic_bool cancelled = true;
    struct tree_size size;
    make_deep("t", 5);
    assert_failed(tree_remove(&dir, "t", &cancelled, &err), ERR_TASK_CANCELLED, "/t");
    assert_true(is_there("t/d/d/d/d/d"));
    assert_failed(tree_measure(&dir, "t", &cancelled, &size, &err), ERR_TASK_CANCELLED, "/t");
}

struct swapper {
    atomic_bool stop;
    size_t swaps;
};

/* Turns a folder inside the tree into a link to the outside and back, and moves a deeper one out of the tree.
 */
static void *swap_on(void *argument)
{
    struct swapper *swapper = argument;
    while (!atomic_load(&swapper->stop)) {
        renameat2(dir.fd, "t/a", dir.fd, "t/link", RENAME_EXCHANGE);
        renameat(dir.fd, "t/a/b/c", dir.fd, "outside/moved");
        renameat2(dir.fd, "t/a", dir.fd, "t/link", RENAME_EXCHANGE);
        renameat(dir.fd, "outside/moved", dir.fd, "t/a/b/c");
        swapper->swaps++;
    }
    return NULL;
}

static void nothing_outside_is_removed_while_somebody_swaps_folders_and_links(void **state)
{
    (void)state;
    struct swapper swapper = {.stop = false};
    pthread_t thread;
    assert_int_equal(run_shell("cd $FOLDER && mkdir -p outside/x && touch outside/kept outside/x/kept"), 0);
    assert_int_equal(pthread_create(&thread, NULL, swap_on, &swapper), 0);
    for (int i = 0; i < 100; i++) {
        mkdirat(dir.fd, "t", 0755);
        symlinkat("../outside", dir.fd, "t/link");
        for (int j = 0; j < 20; j++) {
            static const char *const parts[] = {"t/a", "t/a/b", "t/a/b/c", "t/a/b/c/d", "t/a/b/c/d/e"};
            for (size_t k = 0; k < 5; k++)
                mkdirat(dir.fd, parts[k], 0755);
        }
        tree_remove(&dir, "t", NULL, &err); /* may well fail */
    }
    atomic_store(&swapper.stop, true);
    pthread_join(thread, NULL);
    assert_true(is_there("outside/kept"));
    assert_true(is_there("outside/x/kept"));
    assert_true(swapper.swaps > 0);
}

static void *fill_on(void *argument)
{
    struct swapper *swapper = argument;
    char name[64];
    while (!atomic_load(&swapper->stop)) {
        snprintf(name, sizeof name, "t/a/%zu", swapper->swaps++);
        int fd = openat(dir.fd, name, O_WRONLY | O_CREAT, 0600);
        if (fd == -1)
            break; /* its folder is gone: the removal has won */
        close(fd);
    }
    return NULL;
}

static void a_tree_that_is_still_written_into_is_removed_or_told_as_not_empty(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct swapper swapper = {.stop = false};
        pthread_t thread;
        assert_int_equal(dir_make_path(&dir, "t/a", 0755, &err), 0);
        assert_int_equal(pthread_create(&thread, NULL, fill_on, &swapper), 0);
        int status = tree_remove(&dir, "t", NULL, &err);
        atomic_store(&swapper.stop, true);
        pthread_join(thread, NULL);
        if (status == -1)
            assert_string_equal(err_code_name(err.code), "file.not_empty");
        else
            assert_false(is_there("t"));
        assert_int_equal(tree_remove(&dir, "t", NULL, &err), 0);
    }
}

/* --- measuring ------------------------------------------------------------------------------- */

static uint64_t bytes_by_du(void)
{
    char command[PATH_MAX];
    unsigned long long bytes = 0;
    snprintf(command, sizeof command, "du -s --block-size=1 '%s/t'", folder);
    FILE *stream = popen(command, "r");
    assert_int_equal(fscanf(stream, "%llu", &bytes), 1);
    pclose(stream);
    return bytes;
}

static void a_tree_takes_what_du_says(void **state)
{
    (void)state;
    struct tree_size size;
    assert_int_equal(
        run_shell(
            "cd $FOLDER && mkdir -p t/a/b && head -c 100000 /dev/zero > t/a/1 && ln t/a/1 t/a/b/same && "
            "ln t/a/1 t/third && truncate -s 1G t/sparse && ln -s /usr t/a/link && mkfifo t/fifo && "
            "seq 300 | split -l 1 -a 3 - t/a/b/x"),
        0);
    assert_int_equal(tree_measure(&dir, "t", NULL, &size, &err), 0);
    assert_int_equal(size.bytes, bytes_by_du());
    assert_int_equal(size.entries, 309);
    assert_int_equal(size.unread, 0);
    assert_true(size.bytes < 10000000);
    assert_int_equal(tree_measure(&dir, "t/sparse", NULL, &size, &err), 0);
    assert_int_equal(size.entries, 1);
    assert_failed(tree_measure(&dir, "none", NULL, &size, &err), ERR_FILE_NOT_FOUND, "/none");
}

static int measure_closed_folder(void)
{
    struct err own;
    struct tree_size size;
    if (run_shell("cd $FOLDER && mkdir -p t/closed t/open && touch t/open/1 && chmod 0000 t/closed") != 0)
        return 1;
    if (tree_measure(&dir, "t", NULL, &size, &own) == -1)
        return 2;
    return size.entries == 4 && size.unread == 1 ? 0 : 3;
}

static void a_folder_that_can_not_be_read_is_counted_as_unread(void **state)
{
    (void)state;
    as_nobody(measure_closed_folder);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_tree_a_file_a_link_and_nothing_are_all_removed),
        TEST(a_link_in_a_tree_is_removed_and_never_followed),
        TEST(a_name_that_would_go_through_a_link_is_refused),
        cmocka_unit_test_setup_teardown(ten_thousand_levels_are_removed_with_a_handful_of_descriptors,
                                        setup_in_memory, teardown),
        cmocka_unit_test_setup_teardown(a_folder_of_many_folders_is_removed, setup_in_memory, teardown),
        TEST(folders_closed_to_their_owner_are_removed),
        TEST(what_can_not_be_removed_does_not_keep_the_rest),
        TEST(the_first_entry_that_stays_is_named),
        TEST(another_file_system_in_the_tree_is_not_touched),
        TEST(a_cancelled_removal_stops_between_entries),
        TEST(nothing_outside_is_removed_while_somebody_swaps_folders_and_links),
        TEST(a_tree_that_is_still_written_into_is_removed_or_told_as_not_empty),
        TEST(a_tree_takes_what_du_says),
        TEST(a_folder_that_can_not_be_read_is_counted_as_unread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
