/* quantity: byte strings and durations, as studio-go-runner and the StudioML client write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/quantity.h"

static void assert_bytes(const char *text, int64_t expected)
{
    struct err err;
    int64_t bytes = -1;
    if (quantity_parse_bytes(text, strlen(text), &bytes, &err) < 0)
        fail_msg("%s", err.message);
    if (bytes != expected)
        fail_msg("%s: %lld", text, (long long)bytes);
}

static void assert_no_bytes(const char *text, const char *message)
{
    struct err err;
    int64_t bytes;
    if (quantity_parse_bytes(text, strlen(text), &bytes, &err) == 0)
        fail_msg("accepted: %s", text);
    assert_int_equal(err.code, ERR_BYTES_INVALID);
    if (message)
        assert_string_equal(err.message, message);
}

static void assert_duration(const char *text, int64_t expected)
{
    struct err err;
    int64_t ms = -1;
    if (quantity_parse_duration(text, strlen(text), &ms, &err) < 0)
        fail_msg("%s", err.message);
    if (ms != expected)
        fail_msg("%s: %lld", text, (long long)ms);
}

static void assert_no_duration(const char *text, const char *message)
{
    struct err err;
    int64_t ms;
    if (quantity_parse_duration(text, strlen(text), &ms, &err) == 0)
        fail_msg("accepted: %s", text);
    assert_int_equal(err.code, ERR_DURATION_INVALID);
    if (message)
        assert_string_equal(err.message, message);
}

static void a_unit_is_decimal_with_b_and_binary_with_ib(void **state)
{
    (void)state;
    assert_bytes("0", 0);
    assert_bytes("512", 512);
    assert_bytes("512b", 512);
    assert_bytes("2gb", 2000000000);
    assert_bytes("2g", 2000000000);
    assert_bytes("2 GiB", INT64_C(1) << 31);
    assert_bytes("2Gi", INT64_C(1) << 31);
    assert_bytes("3K", 3000);
    assert_bytes("3kib", 3072);
    assert_bytes("1m", 1000000);
    assert_bytes("1mi", 1 << 20);
    assert_bytes("1t", INT64_C(1000000000000));
    assert_bytes("1ti", INT64_C(1) << 40);
    assert_bytes("1pb", INT64_C(1000000000000000));
    assert_bytes("1pib", INT64_C(1) << 50);
    assert_bytes("7eb", INT64_C(7000000000000000000));
    assert_bytes("7eib", INT64_C(7) << 60);
}

static void commas_are_dropped_and_fractions_count(void **state)
{
    (void)state;
    assert_bytes("1,024mb", 1024000000);
    assert_bytes("1.5kib", 1536);
    assert_bytes(".5k", 500);
    assert_bytes("5.k", 5000);
    assert_bytes("1.9", 1);
}

static void what_is_no_byte_string_is_refused_and_says_why(void **state)
{
    (void)state;
    assert_no_bytes("", "\"\" is no number of bytes: it is empty; write 512mb, 2g or 1.5GiB");
    assert_no_bytes(
        "-1gb", "\"-1gb\" is no number of bytes: it begins with no number from 0; write 512mb, 2g or 1.5GiB");
    assert_no_bytes("2gigs",
                    "\"2gigs\" is no number of bytes: its unit is unknown; write 512mb, 2g or 1.5GiB");
    assert_no_bytes("16eib", "\"16eib\" is no number of bytes: it is too large; write 512mb, 2g or 1.5GiB");
    static const char *const texts[] = {"gb",   ".",   ",",    "1.2.3", " 1g",  "1 g b", "1bb",       "1ib",
                                        "1gbi", "1e5", "0x10", "+1",    "8eib", "NaN",   "1\xc2\xa0g"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_no_bytes(texts[i], NULL);
    struct err err;
    int64_t bytes;
    assert_int_equal(quantity_parse_bytes("1\0g", 3, &bytes, &err), -1);
}

static void a_duration_is_read_as_go_reads_it(void **state)
{
    (void)state;
    assert_duration("0", 0);
    assert_duration("-0", 0);
    assert_duration("0s", 0);
    assert_duration("20m", 1200000);
    assert_duration("1h30m", 5400000);
    assert_duration("1.5h", 5400000);
    assert_duration("90s", 90000);
    assert_duration("500ms", 500);
    assert_duration("1h0m0.5s", 3600500);
    assert_duration(".5s", 500);
    assert_duration("1.1h", 3960000);
    assert_duration("0.1h", 360000);
    assert_duration("-1h30m", -5400000);
    assert_duration("+5s", 5000);
    assert_duration("96h", 345600000);
}

static void the_clients_spelling_is_read_too(void **state)
{
    (void)state;
    assert_duration("1H30M", 5400000);
    assert_duration("10S", 10000);
    assert_duration("-10m", -600000);
    assert_duration("1h-10m", 3000000);
}

static void no_duration_above_zero_becomes_zero(void **state)
{
    (void)state;
    assert_duration("1ns", 1);
    assert_duration("1us", 1);
    assert_duration("100\xc2\xb5s", 1);
    assert_duration("1500us", 2);
    assert_duration("-1us", -1);
}

static void what_is_no_duration_is_refused_and_says_why(void **state)
{
    (void)state;
    assert_no_duration("", "\"\" is no duration: it is empty; write 1h30m, 90s or 500ms");
    assert_no_duration("90", "\"90\" is no duration: a unit is missing; write 1h30m, 90s or 500ms");
    assert_no_duration(
        "1d",
        "\"1d\" is no duration: its unit is unknown (there are ns us ms s m h); write 1h30m, 90s or 500ms");
    assert_no_duration("300000000h",
                       "\"300000000h\" is no duration: it is too long; write 1h30m, 90s or 500ms");
    static const char *const texts[] = {"s",    "-",  "+-1s", "1.2.3s", "1h 30m", " 1h", "1h ",
                                        "1e3s", "00", "1h0",  "five",   "1h30",   ".s",  "1,5h"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_no_duration(texts[i], NULL);
}

static void assert_shown_bytes(int64_t bytes, const char *expected)
{
    char text[QUANTITY_TEXT_SIZE];
    quantity_format_bytes(bytes, text);
    assert_string_equal(text, expected);
}

static void bytes_are_shown_with_at_most_one_decimal(void **state)
{
    (void)state;
    assert_shown_bytes(0, "0 B");
    assert_shown_bytes(1023, "1023 B");
    assert_shown_bytes(1024, "1 KiB");
    assert_shown_bytes(1536, "1.5 KiB");
    assert_shown_bytes(INT64_C(182) << 20, "182 MiB");
    assert_shown_bytes((INT64_C(1) << 30) - 1, "1 GiB");
    assert_shown_bytes(INT64_C(3) << 29, "1.5 GiB");
    assert_shown_bytes(INT64_MAX, "8 EiB");
}

static void assert_shown_duration(int64_t ms, const char *expected)
{
    char text[QUANTITY_TEXT_SIZE];
    quantity_format_duration(ms, text);
    assert_string_equal(text, expected);
}

static void durations_are_shown_in_at_most_two_units(void **state)
{
    (void)state;
    assert_shown_duration(0, "0 ms");
    assert_shown_duration(340, "340 ms");
    assert_shown_duration(1000, "1 s");
    assert_shown_duration(12345, "12.3 s");
    assert_shown_duration(12045, "12 s");
    assert_shown_duration(59999, "59.9 s");
    assert_shown_duration(60000, "1 min");
    assert_shown_duration(125000, "2 min 5 s");
    assert_shown_duration(3 * 3600000 + 12 * 60000, "3 h 12 min");
    assert_shown_duration(52 * 3600000, "2 d 4 h");
    assert_shown_duration(INT64_MAX, "106751991167 d 7 h");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_unit_is_decimal_with_b_and_binary_with_ib),
        cmocka_unit_test(commas_are_dropped_and_fractions_count),
        cmocka_unit_test(what_is_no_byte_string_is_refused_and_says_why),
        cmocka_unit_test(a_duration_is_read_as_go_reads_it),
        cmocka_unit_test(the_clients_spelling_is_read_too),
        cmocka_unit_test(no_duration_above_zero_becomes_zero),
        cmocka_unit_test(what_is_no_duration_is_refused_and_says_why),
        cmocka_unit_test(bytes_are_shown_with_at_most_one_decimal),
        cmocka_unit_test(durations_are_shown_in_at_most_two_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
