/* buffer, sha256, random, clock and fault: the small tools of the base layer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/random.h"
#include "base/sha256.h"

static int reset_faults(void **state)
{
    (void)state;
    fault_reset();
    return 0;
}

static void a_buffer_grows_and_is_always_ended_by_a_nul(void **state)
{
    (void)state;
    struct buffer b = BUFFER_EMPTY;
    for (size_t i = 0; i < 10000; i++) {
        assert_int_equal(buffer_add(&b, "abc", 3), 0);
        assert_int_equal(b.data[b.size], '\0');
    }
    assert_int_equal(b.size, 30000);
    assert_memory_equal(b.data + 29997, "abc", 3);
    buffer_clear(&b);
    assert_int_equal(b.size, 0);
    assert_string_equal(b.data, "");
    assert_int_equal(buffer_add(&b, NULL, 0), 0);
    assert_int_equal(buffer_format(&b, "%s-%d", "x", 5), 0);
    assert_int_equal(buffer_add_text(&b, "!"), 0);
    assert_string_equal(b.data, "x-5!");
    buffer_free(&b);
    assert_null(b.data);
    buffer_clear(&b);
    buffer_free(&b);
}

static void a_size_that_can_not_be_is_refused(void **state)
{
    (void)state;
    struct buffer b = BUFFER_EMPTY;
    assert_int_equal(buffer_add_text(&b, "x"), 0);
    assert_int_equal(buffer_reserve(&b, SIZE_MAX), -1);
    assert_int_equal(buffer_reserve(&b, SIZE_MAX / 2), -1);
    assert_string_equal(b.data, "x");
    buffer_free(&b);
}

static void assert_json(const char *text, size_t size, const char *expected)
{
    struct buffer b = BUFFER_EMPTY;
    assert_int_equal(buffer_add_json(&b, text, size), 0);
    assert_string_equal(b.data, expected);
    buffer_free(&b);
}

static void text_becomes_a_json_string_and_what_is_no_utf8_is_replaced(void **state)
{
    (void)state;
    assert_json("", 0, "\"\"");
    assert_json("a\"b\\c/\n\r\t\b\f\x01\x7f", 13, "\"a\\\"b\\\\c/\\n\\r\\t\\b\\f\\u0001\x7f\"");
    assert_json("a\0b", 3, "\"a\\u0000b\"");
    assert_json("\xc3\xa9\xe2\x82\xac", 5, "\"\xc3\xa9\xe2\x82\xac\"");
    assert_json("a\xff\xc3", 3, "\"a\xef\xbf\xbd\xef\xbf\xbd\"");
    assert_json("\xed\xa0\x80z", 4, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\"");
}

static void without_memory_a_buffer_stays_as_it_was(void **state)
{
    (void)state;
    char text[300];
    memset(text, '\n', sizeof text);
    unsigned failures = 0;
    for (unsigned nth = 1;; nth++) {
        struct buffer b = BUFFER_EMPTY;
        fault_arm("base.buffer", nth);
        int status = buffer_add_text(&b, "before");
        if (status == 0)
            status = buffer_add_json(&b, text, sizeof text);
        assert_true(status == 0 || b.size == 0 || strcmp(b.data, "before") == 0);
        buffer_free(&b);
        if (status == 0)
            break;
        failures++;
    }
    assert_true(failures > 2);
}

static void a_digest_is_that_of_the_standard_in_one_piece_or_many(void **state)
{
    (void)state;
    char hex[65];
    sha256_hex_of("abc", 3, hex); /* FIPS 180-2, appendix B.1 */
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256_hex_of(NULL, 0, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    struct sha256 *digest = sha256_create();
    unsigned char raw[32];
    sha256_update(digest, "a", 1);
    sha256_update(digest, "bc", 2);
    sha256_finish(digest, raw);
    sha256_to_hex(raw, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256_abandon(sha256_create());
    sha256_abandon(NULL);
    fault_arm("base.sha256", 1);
    assert_null(sha256_create());
}

static void random_names_have_their_form_and_differ(void **state)
{
    (void)state;
    char a[9], b[9], uuid[37], other[37];
    random_hex(a, 8);
    random_hex(b, 8);
    assert_int_equal(strspn(a, "0123456789abcdef"), 8);
    assert_int_equal(strlen(a), 8);
    random_uuid(uuid);
    random_uuid(other);
    assert_int_equal(strlen(uuid), 36);
    assert_string_not_equal(uuid, other);
    for (size_t i = 0; i < 36; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23)
            assert_int_equal(uuid[i], '-');
        else
            assert_non_null(strchr("0123456789abcdef", uuid[i]));
    }
    assert_int_equal(uuid[14], '4');
    assert_non_null(strchr("89ab", uuid[19]));
    assert_int_not_equal(random_u64(), random_u64());
}

static void clocks_do_not_go_back(void **state)
{
    (void)state;
    uint64_t mono = clock_monotonic_us(), cpu = clock_thread_cpu_us();
    while (clock_thread_cpu_us() == cpu)
        ;
    assert_true(clock_thread_cpu_us() > cpu);
    assert_true(clock_monotonic_us() > mono);
    assert_true(clock_monotonic_ms() >= mono / 1000);
    assert_true(clock_wall_ms() > INT64_C(1700000000000));
}

static void the_nth_pass_of_an_armed_point_fails_once(void **state)
{
    (void)state;
    fault_arm("spec.point", 3);
    assert_false(FAULT("spec.point"));
    assert_false(FAULT("spec.other"));
    assert_false(FAULT("spec.point"));
    assert_true(FAULT("spec.point"));
    assert_false(FAULT("spec.point"));
    assert_int_equal(fault_count("spec.point"), 4);
    fault_arm("spec.point", 1);
    assert_int_equal(fault_count("spec.point"), 0);
    fault_arm("spec.point", 0);
    assert_false(FAULT("spec.point"));
    char *names = fault_names();
    assert_string_equal(names, "spec.point spec.other");
    free(names);
    fault_reset();
    names = fault_names();
    assert_string_equal(names, "");
    free(names);
}

static void the_environment_arms_points_too(void **state)
{
    (void)state;
    /* main set MOONRUNNER_FAULT=spec.second:2,spec.first before any point was passed. */
    assert_true(FAULT("spec.first"));
    assert_false(FAULT("spec.second"));
    assert_true(FAULT("spec.second"));
    assert_false(FAULT("spec.first"));
}

int main(void)
{
    setenv("MOONRUNNER_FAULT", "spec.second:2,spec.first", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_environment_arms_points_too), /* first: the environment is read once */
        cmocka_unit_test_setup(the_nth_pass_of_an_armed_point_fails_once, reset_faults),
        cmocka_unit_test_setup(a_buffer_grows_and_is_always_ended_by_a_nul, reset_faults),
        cmocka_unit_test_setup(a_size_that_can_not_be_is_refused, reset_faults),
        cmocka_unit_test_setup(text_becomes_a_json_string_and_what_is_no_utf8_is_replaced, reset_faults),
        cmocka_unit_test_setup(without_memory_a_buffer_stays_as_it_was, reset_faults),
        cmocka_unit_test_setup(a_digest_is_that_of_the_standard_in_one_piece_or_many, reset_faults),
        cmocka_unit_test_setup(random_names_have_their_form_and_differ, reset_faults),
        cmocka_unit_test_setup(clocks_do_not_go_back, reset_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
