/* What the guard lets through: names, kinds, limits; and what a pattern leaves out. Tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "archive/guard.h"
#include "archive/ignore.h"

static void names_become_paths_below_the_target(void **state)
{
    (void)state;
    static const struct {
        const char *name, *path; /* path NULL: refused */
    } table[] = {
        {"a", "a"},       {"a/b", "a/b"},     {"./a", "a"},        {"a/", "a"},        {"a//b", "a/b"},
        {".", ""},        {"./", ""},         {"././a", "a"},      {"a/./b", "a/b"},   {"...", "..."},
        {"..a", "..a"},   {"a..", "a.."},     {" ", " "},          {"a\nb", "a\nb"},   {"\xff", "\xff"},
        {"-rf", "-rf"},   {"C:\\x", "C:\\x"}, {"", NULL},          {NULL, NULL},       {"/", NULL},
        {"/a", NULL},     {"//a", NULL},      {"..", NULL},        {"../a", NULL},     {"a/..", NULL},
        {"a/../b", NULL}, {"./../a", NULL},   {"a/../../b", NULL}, {"a//..//b", NULL},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char path[PATH_MAX];
        struct err err = {0};
        int status = guard_name(table[i].name, path, &err);
        if (!table[i].path) {
            assert_int_equal(status, -1);
            assert_int_equal(err.code, ERR_ARCHIVE_UNSAFE_ENTRY);
        } else {
            assert_int_equal(status, 0);
            assert_string_equal(path, table[i].path);
        }
    }
}

static void names_longer_or_deeper_than_a_file_system_takes_are_refused(void **state)
{
    (void)state;
    char name[2 * PATH_MAX], path[PATH_MAX];
    struct err err;
    memset(name, 'x', sizeof name);
    name[NAME_MAX] = '\0';
    assert_int_equal(guard_name(name, path, &err), 0);
    name[NAME_MAX] = 'x';
    name[NAME_MAX + 1] = '\0';
    assert_int_equal(guard_name(name, path, &err), -1);
    assert_int_equal(err.code, ERR_ARCHIVE_UNSAFE_ENTRY);

    /* 128 bytes a component: the length is over before the depth is. */
    memset(name, 'x', sizeof name);
    for (size_t i = 127; i < sizeof name; i += 128)
        name[i] = '/';
    name[PATH_MAX - 1] = '\0';
    assert_int_equal(guard_name(name, path, &err), 0);
    name[PATH_MAX - 1] = '/';
    name[PATH_MAX + 1] = '\0';
    assert_int_equal(guard_name(name, path, &err), -1);

    for (unsigned depth = ARCHIVE_MAX_DEPTH; depth <= ARCHIVE_MAX_DEPTH + 1; depth++) {
        for (unsigned i = 0; i < depth; i++)
            memcpy(name + 2 * i, "d/", 2);
        name[2 * depth] = '\0';
        assert_int_equal(guard_name(name, path, &err), depth > ARCHIVE_MAX_DEPTH ? -1 : 0);
    }
}

static void entries_are_judged_by_kind_and_target(void **state)
{
    (void)state;
    static const struct {
        enum entry_kind kind;
        const char *name, *target;
        int status;
    } table[] = {
        {ENTRY_FILE, "a", NULL, 0},         {ENTRY_FILE, ".", NULL, -1},
        {ENTRY_FOLDER, ".", NULL, 0},       {ENTRY_FOLDER, "..", NULL, -1},
        {ENTRY_LINK, "a", "b", 0},          {ENTRY_LINK, "a", "/etc/passwd", 0}, /* kept, never followed */
        {ENTRY_LINK, "a", "../../b", 0},    {ENTRY_LINK, "a", "", -1},
        {ENTRY_LINK, "a", NULL, -1},        {ENTRY_LINK, "./", "b", -1},
        {ENTRY_HARD_LINK, "a", "b/c", 0},   {ENTRY_HARD_LINK, "a", "/etc/passwd", -1},
        {ENTRY_HARD_LINK, "a", "../b", -1}, {ENTRY_HARD_LINK, "a", ".", -1},
        {ENTRY_HARD_LINK, "a", "", -1},     {ENTRY_HARD_LINK, "a", NULL, -1},
        {ENTRY_OTHER, "a", NULL, -1},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char path[PATH_MAX], target[PATH_MAX];
        struct err err = {0};
        assert_int_equal(guard_entry(table[i].kind, table[i].name, table[i].target, path, target, &err),
                         table[i].status);
        assert_int_equal(err.code, table[i].status ? ERR_ARCHIVE_UNSAFE_ENTRY : ERR_NONE);
    }
}

static void limits_hold_and_zero_is_no_limit(void **state)
{
    (void)state;
    const uint64_t floor = ARCHIVE_RATIO_FLOOR;
    static const struct archive_limits none = {0};
    const struct {
        struct archive_limits limits;
        struct guard_progress progress;
        enum err_code code;
    } table[] = {
        {none, {1, UINT64_MAX, UINT64_MAX, UINT64_MAX}, ERR_NONE},
        {{.max_bytes = 100}, {.unpacked = 100}, ERR_NONE},
        {{.max_bytes = 100}, {.unpacked = 101}, ERR_ARCHIVE_TOO_BIG},
        {{.max_bytes = 100}, {.stream = 1 << 20}, ERR_NONE},
        {{.max_bytes = 100}, {.stream = 2 << 20}, ERR_ARCHIVE_TOO_BIG},
        {{.max_entries = 10}, {.entries = 10}, ERR_NONE},
        {{.max_entries = 10}, {.entries = 11}, ERR_ARCHIVE_TOO_MANY},
        {{.max_ratio = 10}, {.packed = 1, .unpacked = floor}, ERR_NONE},
        {{.max_ratio = 10}, {.packed = floor, .unpacked = floor * 10}, ERR_NONE},
        {{.max_ratio = 10}, {.packed = floor - 1, .unpacked = floor * 10}, ERR_ARCHIVE_RATIO},
        {{.max_ratio = 10}, {.packed = floor - 1, .stream = floor * 10}, ERR_ARCHIVE_RATIO},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct err err = {0};
        assert_int_equal(guard_progress(&table[i].limits, &table[i].progress, &err), table[i].code ? -1 : 0);
        assert_int_equal(err.code, table[i].code);
    }
}

static void a_name_in_a_message_is_one_short_line(void **state)
{
    (void)state;
    char shown[GUARD_SHOWN], name[1000];
    assert_string_equal(guard_shown("a\nb\x1b[31m\x7f", shown), "a?b?[31m?");
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(strlen(guard_shown(name, shown)), GUARD_SHOWN - 1);
    assert_string_equal(shown + GUARD_SHOWN - 4, "...");
}

static void patterns_leave_out_what_rsync_would(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *relative;
        bool is_folder, matches;
    } table[] = {
        {"*.pyc", "a.pyc", false, true},
        {"*.pyc", "deep/er/a.pyc", false, true},
        {"*.pyc", "a.py", false, false},
        {"cache", "cache", true, true},
        {"cache", "a/cache", false, true},
        {"cache", "a/cached", false, false},
        {"cache/", "a/cache", true, true},
        {"cache/", "a/cache", false, false},
        {"/cache", "cache", true, true},
        {"/cache", "a/cache", true, false},
        {"data/raw", "data/raw", true, true},
        {"data/raw", "x/data/raw", true, true},
        {"data/raw", "xdata/raw", true, false},
        {"data/*", "data/a", false, true},
        {"data/*", "data/a/b", false, false},
        {"data/**", "data/a/b", false, true},
        {"[ab]?", "ax", false, true},
        {".git", ".git", true, true},
        {"*", ".hidden", false, true},
        {"", "a", false, false},
        {"/", "a", true, false},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (ignore_matches(table[i].pattern, table[i].relative, table[i].is_folder) != table[i].matches)
            fail_msg("pattern '%s', path '%s'", table[i].pattern, table[i].relative);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_become_paths_below_the_target),
        cmocka_unit_test(names_longer_or_deeper_than_a_file_system_takes_are_refused),
        cmocka_unit_test(entries_are_judged_by_kind_and_target),
        cmocka_unit_test(limits_hold_and_zero_is_no_limit),
        cmocka_unit_test(a_name_in_a_message_is_one_short_line),
        cmocka_unit_test(patterns_leave_out_what_rsync_would),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
