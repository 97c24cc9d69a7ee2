/* The two ends of a stream that are files: complete or not there at all, and never anything but a file. */
#include "../support/archive_unpacking.h"

static int keep(const char *text, const struct err *abort, struct err *err)
{
    struct pipe *pipe = pipe_create(0, err);
    if (!pipe)
        return -1;
    assert_false(pipe_write(pipe, text, strlen(text), err));
    if (abort)
        pipe_abort(pipe, abort);
    else
        pipe_close(pipe);
    int status = archive_keep_file(pipe, scratch.in_fd, "kept", err);
    pipe_destroy(pipe);
    return status;
}

static void a_kept_file_appears_whole_or_not_at_all(void **state)
{
    (void)state;
    struct err err, why;
    scratch_write(scratch.in_fd, "kept", "old");
    err_set(&why, ERR_TASK_CANCELLED, "somebody stopped it");
    assert_int_equal(keep("new", &why, &err), -1);
    assert_int_equal(err.code, ERR_TASK_CANCELLED);
    static const char *const points[] = {"archive.open", "archive.create", "archive.rename",
                                         "base.pipe_read_file"};
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        fault_reset();
        fault_arm(points[i], 1);
        assert_int_equal(keep("new", NULL, &err), -1);
        assert_int_equal(scratch_count(scratch.in_fd, "."), 1);
        assert_string_equal(scratch_read(scratch.in_fd, "kept"), "old");
    }
    fault_reset();
    assert_int_equal(keep("new", NULL, &err), 0);
    assert_int_equal(scratch_count(scratch.in_fd, "."), 1);
    assert_string_equal(scratch_read(scratch.in_fd, "kept"), "new");
}

static void only_a_regular_file_is_fed(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum err_code code;
    } table[] = {{"missing", ERR_FILE_NOT_FOUND},
                 {"fifo", ERR_FILE_NOT_REGULAR},
                 {"t", ERR_FILE_NOT_REGULAR},
                 {"link", ERR_FILE_NOT_REGULAR}};
    assert_false(mkdirat(scratch.in_fd, "t", 0755));
    assert_false(mkfifoat(scratch.in_fd, "fifo", 0666));
    assert_false(symlinkat("../outside/canary", scratch.in_fd, "link"));
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct err err, end;
        const void *data;
        struct pipe *pipe = pipe_create(0, &err);
        assert_int_equal(archive_feed_file(scratch.in_fd, table[i].name, pipe, &err), -1);
        assert_int_equal(err.code, table[i].code);
        assert_int_equal(pipe_read(pipe, &data, &end), -1);
        assert_int_equal(end.code, table[i].code);
        pipe_destroy(pipe);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_kept_file_appears_whole_or_not_at_all),
        TEST(only_a_regular_file_is_fed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
