/* err: one line, a code of the list, errno's text kept. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/utf8.h"

static void every_code_has_a_name_of_its_own_that_finds_it(void **state)
{
    (void)state;
    for (enum err_code code = ERR_NONE; code < ERR_CODE_COUNT; code++)
        assert_int_equal(err_code_find(err_code_name(code)), code);
    assert_int_equal(err_code_find("no.such_code"), ERR_CODE_COUNT);
    assert_string_equal(err_code_name(ERR_CODE_COUNT), "internal");
}

static void setting_an_error_returns_minus_one_and_takes_retryable_from_the_list(void **state)
{
    (void)state;
    struct err err = {.sys = 5};
    assert_int_equal(err_set(&err, ERR_FILE_FULL, "%s: %d", "disk", 7), -1);
    assert_int_equal(err.code, ERR_FILE_FULL);
    assert_true(err.retryable);
    assert_int_equal(err.sys, 0);
    assert_string_equal(err.message, "disk: 7");
    assert_int_equal(err_set(NULL, ERR_FILE_FULL, "nobody asks"), -1);
    assert_int_equal(err_set_file(NULL, ENOENT, "nobody asks"), -1);
    assert_int_equal(err_prefix(NULL, "nobody asks"), -1);
}

static void a_failed_call_gives_its_code_and_the_reason(void **state)
{
    (void)state;
    static const struct {
        int sys;
        enum err_code code;
    } cases[] = {
        {ENOENT, ERR_FILE_NOT_FOUND},      {EEXIST, ERR_FILE_EXISTS},
        {EACCES, ERR_FILE_DENIED},         {EPERM, ERR_FILE_DENIED},
        {EROFS, ERR_FILE_DENIED},          {ENOSPC, ERR_FILE_FULL},
        {EDQUOT, ERR_FILE_FULL},           {ENOTEMPTY, ERR_FILE_NOT_EMPTY},
        {ENOTDIR, ERR_FILE_NOT_DIRECTORY}, {ELOOP, ERR_FILE_NOT_REGULAR},
        {EISDIR, ERR_FILE_NOT_REGULAR},    {EWOULDBLOCK, ERR_FILE_LOCKED},
        {ENOMEM, ERR_NO_MEMORY},           {EIO, ERR_FILE_IO},
    };
    struct err err;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(err_set_file(&err, cases[i].sys, "x"), -1);
        assert_int_equal(err.code, cases[i].code);
        assert_int_equal(err.sys, cases[i].sys);
    }
    err_set_file(&err, ENOENT, "claims/%s", "x");
    assert_string_equal(err.message, "claims/x: No such file or directory");
}

static void a_message_is_one_line(void **state)
{
    (void)state;
    struct err err;
    err_set(&err, ERR_INTERNAL, "a\nb\tc%c", '\x1b');
    assert_string_equal(err.message, "a b c ");
}

static void assert_whole_characters(const char *text)
{
    while (*text) {
        size_t length = utf8_length(text, strlen(text));
        assert_int_not_equal(length, 0);
        text += length;
    }
}

static void too_long_a_text_is_cut_at_a_whole_character(void **state)
{
    (void)state;
    struct err err;
    char text[4096];
    for (size_t shift = 0; shift < 4; shift++) {
        size_t used = shift;
        memset(text, 'x', shift);
        for (; used + 4 < sizeof text; used += 4)
            memcpy(text + used, "\xf0\x9f\x98\x80", 4);
        text[used] = '\0';
        err_set(&err, ERR_INTERNAL, "%s", text);
        assert_true(strlen(err.message) > sizeof err.message - 8);
        assert_whole_characters(err.message);
        /* The reason survives a long name. */
        err_set_file(&err, ENOENT, "%s", text);
        assert_non_null(strstr(err.message, ": No such file or directory"));
        assert_whole_characters(err.message);
    }
}

static void a_prefix_keeps_the_code_and_may_use_the_message_itself(void **state)
{
    (void)state;
    struct err err;
    err_set_file(&err, ENOENT, "x");
    assert_int_equal(err_prefix(&err, "opening %s", "the queue"), -1);
    assert_string_equal(err.message, "opening the queue: x: No such file or directory");
    assert_int_equal(err.code, ERR_FILE_NOT_FOUND);
    assert_int_equal(err.sys, ENOENT);
    err_set(&err, ERR_STORE_DENIED, "again: %s", err.message);
    assert_string_equal(err.message, "again: opening the queue: x: No such file or directory");
}

static void utf8_is_judged_strictly_and_written_back_the_same(void **state)
{
    (void)state;
    for (uint32_t c = 0; c < 0x110000; c += c < 0x3000 ? 1 : 37) {
        char text[4];
        size_t length = utf8_put(c, text);
        bool surrogate = c >= 0xd800 && c <= 0xdfff;
        assert_int_equal(utf8_length(text, length), surrogate ? 0 : length);
        for (size_t cut = 0; cut < length; cut++)
            assert_int_equal(utf8_length(text, cut), 0);
    }
    char beyond[4];
    utf8_put(0x110000, beyond);
    assert_int_equal(utf8_length(beyond, 4), 0);
    assert_int_equal(utf8_length("\xc0\x80", 2), 0);
    assert_int_equal(utf8_length("\xe0\x80\x80", 3), 0);
    assert_int_equal(utf8_length("\xf0\x80\x80\x80", 4), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_a_name_of_its_own_that_finds_it),
        cmocka_unit_test(setting_an_error_returns_minus_one_and_takes_retryable_from_the_list),
        cmocka_unit_test(a_failed_call_gives_its_code_and_the_reason),
        cmocka_unit_test(a_message_is_one_line),
        cmocka_unit_test(too_long_a_text_is_cut_at_a_whole_character),
        cmocka_unit_test(a_prefix_keeps_the_code_and_may_use_the_message_itself),
        cmocka_unit_test(utf8_is_judged_strictly_and_written_back_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
