/* What the tests of unpacking share: a scratch folder for each test, and what must hold after every one. */
#ifndef MOONRUNNER_SPEC_ARCHIVE_UNPACKING_H
#define MOONRUNNER_SPEC_ARCHIVE_UNPACKING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/fault.h"

#include "archive_fixture.h"

static const struct archive_limits no_limits;
static struct scratch scratch;
static int descriptors;

static inline int before_each(void **state)
{
    (void)state;
    fault_reset();
    descriptors = open_descriptors();
    scratch_open(&scratch);
    return 0;
}

/* Whatever happened: nothing outside was touched and no descriptor is left. */
static inline int after_each(void **state)
{
    (void)state;
    int fine = scratch_untouched(&scratch);
    scratch_close(&scratch);
    return fine && open_descriptors() == descriptors ? 0 : -1;
}

static inline void assert_unpacks_beside(const struct buffer *bytes, struct archive_result *result)
{
    struct err err;
    if (unpack_bytes(bytes, scratch.in_fd, "out", &no_limits, result, &err))
        fail_msg("%s: %s", err_code_name(err.code), err.message);
}

static inline void assert_unpacks(const struct buffer *bytes, struct archive_result *result)
{
    assert_unpacks_beside(bytes, result);
    assert_int_equal(scratch_count(scratch.in_fd, "."), 1);
}

/* Refused, with nothing left. Frees the archive. */
static inline void assert_refused(struct buffer *bytes, const struct archive_limits *limits,
                                  enum err_code code)
{
    struct err err = {0};
    struct archive_result result;
    int status = unpack_bytes(bytes, scratch.in_fd, "out", limits, &result, &err);
    if (status != -1 || err.code != code)
        fail_msg("status %d, %s: %s", status, err_code_name(err.code), err.message);
    assert_null(strchr(err.message, '\n'));
    assert_int_equal(scratch_count(scratch.in_fd, "."), 0);
    assert_true(scratch_untouched(&scratch));
    buffer_free(bytes);
}

static inline void assert_unsafe(struct buffer *tar)
{
    tar_end(tar);
    assert_refused(tar, &no_limits, ERR_ARCHIVE_UNSAFE_ENTRY);
}

static inline struct stat stat_of(const char *name)
{
    struct stat st;
    if (fstatat(scratch.in_fd, name, &st, AT_SYMLINK_NOFOLLOW))
        fail_msg("%s: %s", name, strerror(errno));
    return st;
}

/* Removes the target, for the next round of a table. */
static inline void clear(void)
{
    beside_remove(scratch.in_fd, "out");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, before_each, after_each)

#endif
