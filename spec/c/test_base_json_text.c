/* json_text: what is strict JSON, where its members are, and that neither size nor depth nor keys can hurt.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/fault.h"
#include "base/json_text.h"

/* A copy of exact size, so that AddressSanitizer sees a read past the end. */
static int check(const char *text, size_t size, unsigned depth, struct err *err)
{
    char *copy = malloc(size ? size : 1);
    memcpy(copy, text, size);
    int status = json_text_check(copy, size, depth, err);
    free(copy);
    return status;
}

static void assert_accepted(const char *text)
{
    struct err err = {.message = ""};
    if (check(text, strlen(text), 8, &err) != 0)
        fail_msg("refused: %s: %s", text, err.message);
}

static void assert_refused(const char *text, const char *message)
{
    struct err err = {.message = ""};
    if (check(text, strlen(text), 8, &err) == 0)
        fail_msg("accepted: %s", text);
    assert_int_equal(err.code, ERR_JSON_INVALID);
    if (message)
        assert_string_equal(err.message, message);
}

static void strict_json_is_accepted(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{}",
        "[]",
        " [ ] ",
        "\t\r\n{ }\n",
        "null",
        "true",
        "false",
        "\"\"",
        "0",
        "-0",
        "-0.0e-0",
        "1.5E+10",
        "1e308",
        "1795527139.1530757",
        "12345678901234567890123",
        "[1,2,[3],{}]",
        "{\"a\":{\"a\":{\"a\":1}},\"b\":[{\"a\":1},{\"a\":2}]}",
        "\"\\u0000\\ud83d\\ude00\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x7f\"",
        "[[[[[[[[1]]]]]]]]",
        "{\"\":1,\"\\u0000\":2}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_accepted(texts[i]);
}

static void what_only_looks_like_json_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        " ",
        "{",
        "[",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{1:2}",
        "{'a':1}",
        "{a:1}",
        "{\"a\" 1}",
        "[1}",
        "{\"a\":1]",
        "]",
        "}",
        ",",
        "1 2",
        "{} {}",
        "nul",
        "NaN",
        "Infinity",
        "-Infinity",
        "[NaN]",
        "True",
        "01",
        "-",
        "-a",
        "1.",
        ".5",
        "1.e5",
        "1e",
        "1e+",
        "+1",
        "0x10",
        "1e309",
        "-1e999",
        "\"",
        "\"a",
        "\"\\",
        "\"\\\"",
        "\"\\x41\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"\\ud83d\\\"",
        "\"\n\"",
        "\"\t\"",
        "\"\x01\"",
        "// c\n1",
        "/**/1",
        "[1]//",
        "\xef\xbb\xbf{}",
        "[[[[[[[[[1]]]]]]]]]",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_refused(texts[i], NULL);
    struct err err;
    assert_int_equal(check("1\0", 2, 8, &err), -1);
    assert_int_equal(check("\"a\0b\"", 5, 8, &err), -1);
    assert_int_equal(check("\0", 1, 8, &err), -1);
}

static void bytes_that_are_no_utf8_are_refused_everywhere(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\x80",
        "\xc0\x80",
        "\xc1\xbf",
        "\xc3",
        "\xe2\x82",
        "\xe0\x9f\x80",
        "\xed\xa0\x80",
        "\xf0\x8f\x80\x80",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xff",
        "\xf0\x9f\x98",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[64];
        snprintf(text, sizeof text, "[\"%s\"]", bad[i]);
        assert_refused(text, NULL);
        snprintf(text, sizeof text, "{\"%s\":1}", bad[i]);
        assert_refused(text, NULL);
        snprintf(text, sizeof text, "[1]%s", bad[i]);
        assert_refused(text, NULL);
    }
}

static void the_message_names_the_place_and_what_is_wrong(void **state)
{
    (void)state;
    assert_refused("{\n \"args\": 1,\n \"x\": 2, \"args\": 3}", "line 3, column 10: duplicate key \"args\"");
    assert_refused("{\"\xc3\xa9\": 1 2}", "line 1, column 9: a comma or '}' should be here, not '2'");
    assert_refused("[1,", "line 1, column 4: the text ends where a value should be");
    assert_refused("[\"a]", "line 1, column 2: this string has no end");
    assert_refused("[1e999]", "line 1, column 2: this number is too large");
    assert_refused("[[[[[[[[[]]]]]]]]]", "line 1, column 9: nested deeper than 8");
    assert_refused("[\x01]", "line 1, column 2: a value should be here, not byte 0x01");
    assert_refused("{} x", "line 1, column 4: something follows the value");
}

static void a_duplicate_key_is_found_at_every_level_and_by_what_it_means(void **state)
{
    (void)state;
    assert_refused("{\"a\":1,\"a\":2}", NULL);
    assert_refused("[{\"x\":{\"a\":1,\"b\":2,\"c\":3,\"a\":4}}]", NULL);
    assert_refused("{\"x\":{\"a\":1},\"y\":2,\"x\":3}", NULL);
    assert_refused("{\"a\":1,\"\\u0061\":2}", NULL);
    assert_refused("{\"\\u00e9\":1,\"\xc3\xa9\":2}", NULL);
    assert_refused("{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":2}", NULL);
    assert_refused("{\"a\\/b\":1,\"a/b\":2}", NULL);
    assert_refused("{\"\":1,\"\":2}", NULL);
    assert_accepted("{\"a\":1,\"A\":2,\"a \":3,\"ab\":4,\"\\u0061c\":5}");
    assert_accepted("{\"x\":{\"a\":1},\"a\":{\"x\":1}}");
    /* These two have one FNV-1a hash, and are not the same. */
    assert_accepted("{\"8yn0iYCKYHlIj4-BwPqk\":1,\"GReLUrM4wMqfg9yzV3KQ\":2}");
    assert_accepted("{\"\\u0000a\":1,\"\\u0000b\":2,\"\\u0000\":3}");
}

static void the_first_of_several_duplicates_is_named(void **state)
{
    (void)state;
    assert_refused("{\"z\":1,\"y\":1,\"z\":2,\"y\":2}", "line 1, column 14: duplicate key \"z\"");
    assert_refused("{\"y\":1,\"z\":1,\"y\":2,\"z\":2}", "line 1, column 14: duplicate key \"y\"");
}

static void depth_is_counted_by_brackets_and_bounded_by_the_caller(void **state)
{
    (void)state;
    struct err err;
    assert_int_equal(check("1", 1, 0, &err), 0);
    assert_int_equal(check("[]", 2, 0, &err), -1);
    assert_int_equal(check("[{}]", 4, 1, &err), -1);
    assert_int_equal(check("[{}]", 4, 2, &err), 0);
    assert_int_equal(check("[[],[],{},[]]", 13, 2, &err), 0);
    /* A million brackets use no C stack. */
    size_t n = 1000000;
    char *deep = malloc(2 * n);
    memset(deep, '[', n);
    memset(deep + n, ']', n);
    assert_int_equal(json_text_check(deep, 2 * n, (unsigned)n, &err), 0);
    assert_int_equal(json_text_check(deep, 2 * n, (unsigned)n - 1, &err), -1);
    assert_int_equal(json_text_check(deep, 2 * n - 1, (unsigned)n, &err), -1);
    free(deep);
}

static void very_many_keys_are_compared_and_the_one_duplicate_is_found(void **state)
{
    (void)state;
    struct buffer text = BUFFER_EMPTY;
    buffer_add_text(&text, "{");
    for (unsigned i = 0; i < 200000; i++)
        assert_int_equal(buffer_format(&text, "\"key-%u\":%u,", i, i), 0);
    size_t before = text.size;
    struct err err;
    assert_int_equal(buffer_add_text(&text, "\"last\":1}"), 0);
    assert_int_equal(json_text_check(text.data, text.size, 1, &err), 0);
    text.size = before;
    assert_int_equal(buffer_add_text(&text, "\"key-77777\":1}"), 0);
    assert_int_equal(json_text_check(text.data, text.size, 1, &err), -1);
    assert_non_null(strstr(err.message, "duplicate key \"key-77777\""));
    buffer_free(&text);
}

struct found {
    struct json_member members[64];
    size_t n;
};

static void collect(const struct json_member *member, void *arg)
{
    struct found *found = arg;
    assert_true(found->n < 64);
    found->members[found->n++] = *member;
}

static void members_are_given_in_order_with_their_exact_spans(void **state)
{
    (void)state;
    const char *text = " { \"a\" : 1 ,\"b,}\":{\"x\":[1,\"]}\\\"\"]} , \"c\":\"\\\\\",\"d\":[ ]\n}\n";
    struct found found = {.n = 0};
    size_t start, end;
    struct err err;
    assert_int_equal(check(text, strlen(text), 8, &err), 0);
    assert_int_equal(json_text_members(text, strlen(text), &start, &end, collect, &found, &err), 0);
    static const char *const expected[][2] = {
        {"\"a\"", "1"}, {"\"b,}\"", "{\"x\":[1,\"]}\\\"\"]}"}, {"\"c\"", "\"\\\\\""}, {"\"d\"", "[ ]"}};
    assert_int_equal(found.n, 4);
    for (size_t i = 0; i < 4; i++) {
        const struct json_member *m = &found.members[i];
        assert_int_equal(m->key_end - m->key_start, strlen(expected[i][0]));
        assert_memory_equal(text + m->key_start, expected[i][0], m->key_end - m->key_start);
        assert_int_equal(m->value_end - m->value_start, strlen(expected[i][1]));
        assert_memory_equal(text + m->value_start, expected[i][1], m->value_end - m->value_start);
    }
    assert_int_equal(text[start], '{');
    assert_int_equal(end, strlen(text) - 2);
    assert_int_equal(text[end], '}');
}

static void what_is_no_object_has_no_members(void **state)
{
    (void)state;
    struct found found = {.n = 0};
    size_t start, end;
    struct err err;
    assert_int_equal(json_text_members("[{}]", 4, &start, &end, collect, &found, &err), -1);
    assert_int_equal(err.code, ERR_JSON_INVALID);
    assert_int_equal(json_text_members("{}", 2, &start, &end, collect, &found, &err), 0);
    assert_int_equal(found.n, 0);
    assert_int_equal(start, 0);
    assert_int_equal(end, 1);
}

static void a_string_is_unescaped_to_what_it_means(void **state)
{
    (void)state;
    const char *quoted = "\"a\\u0000\\n\\ud83d\\ude00\\/\xc3\xa9\\\\\"";
    char out[64];
    size_t size = json_text_unescape(quoted, strlen(quoted), out);
    assert_int_equal(size, 11);
    assert_memory_equal(out, "a\0\n\xf0\x9f\x98\x80/\xc3\xa9\\", 11);
    assert_int_equal(json_text_unescape("\"\"", 2, out), 0);
}

/* Property: what a generator builds is accepted; with one member's key repeated it is refused; every proper
 * prefix of an object is refused; no single changed byte makes it read outside (AddressSanitizer looks). */
static uint64_t seed;

static unsigned pick(unsigned n)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(seed >> 33) % n;
}

static void add_space(struct buffer *b)
{
    static const char *const spaces[] = {"", "", "", " ", "\n", "\t ", "\r\n"};
    buffer_add_text(b, spaces[pick(7)]);
}

static void add_string(struct buffer *b, unsigned unique)
{
    static const char *const pieces[] = {"a", "\\u0041", "\\n", "\xc3\xa9", "\\ud83d\\ude00",
                                         "{", "\\\"",    "]",   ",",        "\\\\"};
    buffer_format(b, "\"%u", unique);
    for (unsigned n = pick(4); n > 0; n--)
        buffer_add_text(b, pieces[pick(10)]);
    buffer_add_text(b, "\"");
}

static void add_value(struct buffer *b, unsigned depth)
{
    static const char *const scalars[] = {"0",   "-1.5e3", "null", "true", "false", "12345678901234567890",
                                          "\"\""};
    unsigned kind = depth > 0 ? pick(4) : pick(2);
    add_space(b);
    if (kind == 0) {
        buffer_add_text(b, scalars[pick(7)]);
    } else if (kind == 1) {
        add_string(b, pick(9));
    } else {
        unsigned n = pick(5);
        buffer_add_text(b, kind == 2 ? "[" : "{");
        for (unsigned i = 0; i < n; i++) {
            if (i > 0)
                buffer_add_text(b, ",");
            if (kind == 3) {
                add_space(b);
                add_string(b, i);
                add_space(b);
                buffer_add_text(b, ":");
            }
            add_value(b, depth - 1);
        }
        add_space(b);
        buffer_add_text(b, kind == 2 ? "]" : "}");
    }
    add_space(b);
}

static void generated_json_is_accepted_and_no_damaged_one_reads_outside(void **state)
{
    (void)state;
    seed = 42;
    int rounds = getenv("MOONRUNNER_SOAK") ? 200000 : 2000;
    for (int round = 0; round < rounds; round++) {
        struct buffer b = BUFFER_EMPTY;
        buffer_add_text(&b, "{\"v\":");
        add_value(&b, 5);
        buffer_add_text(&b, "}");
        struct err err;
        if (check(b.data, b.size, 8, &err) != 0)
            fail_msg("refused: %s: %s", b.data, err.message);
        size_t cut = pick((unsigned)b.size);
        assert_int_equal(check(b.data, cut, 8, &err), -1);
        b.data[pick((unsigned)b.size)] = (char)pick(256);
        if (check(b.data, b.size, 8, &err) == 0 && b.data[0] == '{') {
            struct found found = {.n = 0};
            size_t start, end;
            assert_int_equal(json_text_members(b.data, b.size, &start, &end, collect, &found, &err), 0);
            assert_int_equal(found.n, 1);
            assert_int_equal(check(b.data + found.members[0].value_start,
                                   found.members[0].value_end - found.members[0].value_start, 8, &err),
                             0);
        }
        buffer_free(&b);
    }
}

static void members_stay_within_a_text_that_was_never_checked(void **state)
{
    (void)state;
    static const char bytes[] = "{}[]\"\\:,a \n";
    seed = 7;
    for (int round = 0; round < 20000; round++) {
        size_t size = 1 + pick(24);
        char *text = malloc(size);
        text[0] = '{';
        for (size_t i = 1; i < size; i++)
            text[i] = bytes[pick(sizeof bytes - 1)];
        struct found found = {.n = 0};
        size_t start, end;
        struct err err;
        assert_int_equal(json_text_members(text, size, &start, &end, collect, &found, &err), 0);
        for (size_t i = 0; i < found.n; i++)
            assert_true(found.members[i].value_end <= size && found.members[i].key_end <= size);
        free(text);
    }
}

static void without_memory_the_check_fails_cleanly(void **state)
{
    (void)state;
    const char *text = "{\"a\":[1e5,{\"b\":2}]}";
    struct err err;
    unsigned failures = 0;
    for (unsigned nth = 1;; nth++) {
        fault_arm("base.json_text", nth);
        int status = json_text_check(text, strlen(text), 8, &err);
        if (status == 0)
            break;
        assert_int_equal(err.code, ERR_NO_MEMORY);
        failures++;
    }
    fault_reset();
    assert_int_equal(failures, 3); /* frames, keys, the number */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strict_json_is_accepted),
        cmocka_unit_test(what_only_looks_like_json_is_refused),
        cmocka_unit_test(bytes_that_are_no_utf8_are_refused_everywhere),
        cmocka_unit_test(the_message_names_the_place_and_what_is_wrong),
        cmocka_unit_test(a_duplicate_key_is_found_at_every_level_and_by_what_it_means),
        cmocka_unit_test(the_first_of_several_duplicates_is_named),
        cmocka_unit_test(depth_is_counted_by_brackets_and_bounded_by_the_caller),
        cmocka_unit_test(very_many_keys_are_compared_and_the_one_duplicate_is_found),
        cmocka_unit_test(members_are_given_in_order_with_their_exact_spans),
        cmocka_unit_test(what_is_no_object_has_no_members),
        cmocka_unit_test(a_string_is_unescaped_to_what_it_means),
        cmocka_unit_test(generated_json_is_accepted_and_no_damaged_one_reads_outside),
        cmocka_unit_test(members_stay_within_a_text_that_was_never_checked),
        cmocka_unit_test(without_memory_the_check_fails_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
