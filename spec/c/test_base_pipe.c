/* pipe: every byte in order, a bound, and an abort from any side at any time. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/pipe.h"

#define TOTAL ((size_t)300000)

static unsigned char byte_at(size_t i)
{
    return (unsigned char)(i * 31 + (i >> 8) * 7 + (i >> 16));
}

struct writer {
    struct pipe *pipe;
    size_t total, piece; /* piece 0: sizes that vary */
    int status;
    struct err err;
};

static void *write_all(void *arg)
{
    struct writer *w = arg;
    unsigned char bytes[5000];
    size_t sent = 0;
    for (unsigned round = 1; sent < w->total && w->status == 0; round++) {
        size_t n = w->piece ? w->piece : round * 37 % sizeof bytes;
        if (n > w->total - sent)
            n = w->total - sent;
        for (size_t i = 0; i < n; i++)
            bytes[i] = byte_at(sent + i);
        w->status = pipe_write(w->pipe, bytes, n, &w->err);
        sent += n;
    }
    if (w->status == 0)
        pipe_close(w->pipe);
    return NULL;
}

/* Reads to the end; returns how many bytes came, each as it should be. */
static size_t read_all(struct pipe *p)
{
    size_t got = 0;
    const void *data;
    struct err err;
    ssize_t n;
    while ((n = pipe_read(p, &data, &err)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (((const unsigned char *)data)[i] != byte_at(got + (size_t)i))
                fail_msg("byte %zu is wrong", got + (size_t)i);
        }
        got += (size_t)n;
    }
    assert_int_equal(n, 0);
    assert_int_equal(pipe_read(p, &data, &err), 0); /* and so it stays */
    return got;
}

static void every_byte_arrives_in_order_whatever_the_sizes_are(void **state)
{
    (void)state;
    static const size_t capacities[] = {1, 3, 4, 64, 4096, 65537, 0};
    for (size_t i = 0; i < sizeof capacities / sizeof *capacities; i++) {
        for (size_t piece = 0; piece < 3; piece++) {
            struct err err;
            size_t total = capacities[i] && capacities[i] < 64 ? 3000 : TOTAL;
            struct writer w = {
                .pipe = pipe_create(capacities[i], &err), .total = total, .piece = piece * 1499};
            pthread_t thread;
            assert_non_null(w.pipe);
            pthread_create(&thread, NULL, write_all, &w);
            assert_int_equal(read_all(w.pipe), total);
            pthread_join(thread, NULL);
            assert_int_equal(w.status, 0);
            pipe_destroy(w.pipe);
        }
    }
}

static void bytes_that_were_given_stay_until_the_next_read_while_the_writer_goes_on(void **state)
{
    (void)state;
    struct err err;
    const void *first, *second;
    struct pipe *p = pipe_create(8, &err);
    assert_int_equal(pipe_write(p, "abcdefgh", 8, &err), 0);
    assert_int_equal(pipe_read(p, &first, &err), 2); /* a quarter */
    assert_memory_equal(first, "ab", 2);
    assert_int_equal(pipe_read(p, &second, &err), 2);
    assert_int_equal(pipe_write(p, "XY", 2, &err), 0); /* into the room of "ab", which is given back */
    assert_memory_equal(second, "cd", 2);
    pipe_close(p);
    pipe_destroy(p);
}

static void an_empty_stream_ends_at_once(void **state)
{
    (void)state;
    struct err err;
    struct pipe *p = pipe_create(0, &err);
    assert_int_equal(pipe_write(p, NULL, 0, &err), 0);
    pipe_close(p);
    assert_int_equal(read_all(p), 0);
    pipe_destroy(p);
    pipe_destroy(NULL);
}

static void an_abort_frees_a_writer_that_is_blocked_and_gives_it_the_reason(void **state)
{
    (void)state;
    struct err err, why;
    struct writer w = {.pipe = pipe_create(16, &err), .total = 1000, .piece = 100};
    const void *data;
    pthread_t thread;
    pthread_create(&thread, NULL, write_all, &w);
    assert_true(pipe_read(w.pipe, &data, &err) > 0); /* the writer works, and soon waits: nobody reads on */
    err_set(&why, ERR_ARCHIVE_TOO_BIG, "too big");
    pipe_abort(w.pipe, &why);
    pthread_join(thread, NULL);
    assert_int_equal(w.status, -1);
    assert_int_equal(w.err.code, ERR_ARCHIVE_TOO_BIG);
    assert_string_equal(w.err.message, "too big");
    pipe_destroy(w.pipe);
}

static void *read_blocked(void *arg)
{
    struct writer *w = arg;
    const void *data;
    w->status = (int)pipe_read(w->pipe, &data, &w->err);
    return NULL;
}

static void an_abort_frees_a_reader_that_is_blocked_and_the_first_reason_stays(void **state)
{
    (void)state;
    struct err err, first, second;
    struct writer r = {.pipe = pipe_create(16, &err)};
    pthread_t thread;
    pthread_create(&thread, NULL, read_blocked, &r);
    sched_yield(); /* blocked or not yet: it must come back either way */
    err_set(&first, ERR_TASK_CANCELLED, "first");
    err_set(&second, ERR_FILE_IO, "second");
    pipe_abort(r.pipe, &first);
    pipe_abort(r.pipe, &second);
    pthread_join(thread, NULL);
    assert_int_equal(r.status, -1);
    assert_string_equal(r.err.message, "first");
    assert_int_equal(pipe_write(r.pipe, "x", 1, &err), -1);
    assert_string_equal(err.message, "first");
    pipe_destroy(r.pipe);
}

static void an_abort_after_the_end_still_reaches_the_reader(void **state)
{
    (void)state;
    struct err err, why;
    const void *data;
    struct pipe *p = pipe_create(16, &err);
    pipe_write(p, "abc", 3, &err);
    pipe_close(p);
    err_set(&why, ERR_FILE_IO, "stop");
    pipe_abort(p, &why);
    assert_int_equal(pipe_read(p, &data, &err), -1);
    assert_int_equal(err.code, ERR_FILE_IO);
    pipe_destroy(p);
}

/* --- files
 * --------------------------------------------------------------------------------------------------- */

static int make_file(size_t size)
{
    int fd = memfd_create("pipe", MFD_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = byte_at(i);
        assert_int_equal(write(fd, &byte, 1), 1);
    }
    lseek(fd, 0, SEEK_SET);
    return fd;
}

struct copy {
    struct pipe *pipe;
    int fd, status;
    struct err err;
};

static void *read_into_file(void *arg)
{
    struct copy *copy = arg;
    copy->status = pipe_read_file(copy->pipe, copy->fd, "to", &copy->err);
    return NULL;
}

static void a_file_passes_through_whole(void **state)
{
    (void)state;
    enum { SIZE = 20000 };
    struct err err;
    struct copy copy = {.pipe = pipe_create(777, &err), .fd = make_file(0)};
    int from = make_file(SIZE);
    pthread_t thread;
    pthread_create(&thread, NULL, read_into_file, &copy);
    assert_int_equal(pipe_write_file(copy.pipe, from, "from", &err), 0);
    pthread_join(thread, NULL);
    assert_int_equal(copy.status, 0);
    assert_int_equal(lseek(copy.fd, 0, SEEK_END), SIZE);
    for (off_t i = 0; i < SIZE; i += 997) {
        unsigned char byte;
        assert_int_equal(pread(copy.fd, &byte, 1, i), 1);
        assert_int_equal(byte, byte_at((size_t)i));
    }
    close(from);
    close(copy.fd);
    pipe_destroy(copy.pipe);
}

static void a_file_that_can_not_be_read_fails_both_sides(void **state)
{
    (void)state;
    struct err err;
    struct copy copy = {.pipe = pipe_create(777, &err), .fd = make_file(0)};
    int from = make_file(2000);
    pthread_t thread;
    fault_arm("base.pipe_write_file", 2);
    pthread_create(&thread, NULL, read_into_file, &copy);
    assert_int_equal(pipe_write_file(copy.pipe, from, "from", &err), -1);
    pthread_join(thread, NULL);
    assert_int_equal(copy.status, -1);
    assert_string_equal(err.message, "from: Input/output error");
    assert_string_equal(copy.err.message, err.message);
    close(from);
    close(copy.fd);
    pipe_destroy(copy.pipe);
}

static void a_full_disk_fails_both_sides_as_such(void **state)
{
    (void)state;
    struct err err;
    struct copy copy = {.pipe = pipe_create(64, &err), .fd = make_file(0)};
    int from = make_file(2000);
    pthread_t thread;
    fault_arm("base.pipe_read_file", 2);
    pthread_create(&thread, NULL, read_into_file, &copy);
    assert_int_equal(pipe_write_file(copy.pipe, from, "from", &err), -1);
    pthread_join(thread, NULL);
    assert_int_equal(copy.status, -1);
    assert_int_equal(copy.err.code, ERR_FILE_FULL);
    assert_int_equal(err.code, ERR_FILE_FULL);
    close(from);
    close(copy.fd);
    pipe_destroy(copy.pipe);
}

static void a_pipe_that_can_not_be_made_says_so(void **state)
{
    (void)state;
    struct err err;
    fault_arm("base.pipe_create", 1);
    assert_null(pipe_create(0, &err));
    assert_int_equal(err.code, ERR_NO_MEMORY);
}

static int reset_faults(void **state)
{
    (void)state;
    fault_reset();
    return 0;
}

#define TEST(NAME) cmocka_unit_test_teardown(NAME, reset_faults)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_byte_arrives_in_order_whatever_the_sizes_are),
        TEST(bytes_that_were_given_stay_until_the_next_read_while_the_writer_goes_on),
        TEST(an_empty_stream_ends_at_once),
        TEST(an_abort_frees_a_writer_that_is_blocked_and_gives_it_the_reason),
        TEST(an_abort_frees_a_reader_that_is_blocked_and_the_first_reason_stays),
        TEST(an_abort_after_the_end_still_reaches_the_reader),
        TEST(a_file_passes_through_whole),
        TEST(a_file_that_can_not_be_read_fails_both_sides),
        TEST(a_full_disk_fails_both_sides_as_such),
        TEST(a_pipe_that_can_not_be_made_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
