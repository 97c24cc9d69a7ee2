/* Plain values between two Lua states, and their canonical text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "lua/copy.h"

static lua_State *from, *to;
static struct buffer value, text;

static int open_states(void **state)
{
    (void)state;
    from = luaL_newstate();
    to = luaL_newstate();
    luaL_openlibs(from);
    luaL_openlibs(to);
    return 0;
}

static int close_states(void **state)
{
    (void)state;
    lua_close(from);
    lua_close(to);
    buffer_free(&value);
    buffer_free(&text);
    return 0;
}

/* Leaves the value of a Lua expression on the stack of `from`. */
static void evaluate(const char *expression)
{
    lua_settop(from, 0);
    lua_pushfstring(from, "return %s", expression);
    if (luaL_loadstring(from, lua_tostring(from, -1)) || lua_pcall(from, 0, 1, 0))
        fail_msg("%s", lua_tostring(from, -1));
}

static const char *canonical(const char *expression)
{
    struct err err;

    evaluate(expression);
    if (copy_read(from, -1, &COPY_LIMITS, &value, &err))
        fail_msg("%s", err.message);
    buffer_clear(&text);
    assert_int_equal(copy_text(&value, &text, &err), 0);
    return text.data;
}

static void assert_refused(const char *expression, const char *message)
{
    struct err err;

    evaluate(expression);
    int top = lua_gettop(from);
    assert_int_equal(copy_read(from, -1, &COPY_LIMITS, &value, &err), -1);
    assert_int_equal(err.code, ERR_INTERNAL);
    assert_string_equal(err.message, message);
    assert_int_equal(lua_gettop(from), top);
}

static void every_plain_value_has_one_text(void **state)
{
    (void)state;
    assert_string_equal(canonical("nil"), "null");
    assert_string_equal(canonical("true"), "true");
    assert_string_equal(canonical("false"), "false");
    assert_string_equal(canonical("0"), "0");
    assert_string_equal(canonical("-0"), "0");
    assert_string_equal(canonical("-17"), "-17");
    assert_string_equal(canonical("1700000000123"), "1700000000123");
    assert_string_equal(canonical("2^53"), "9007199254740992");
    assert_string_equal(canonical("0.1"), "0.10000000000000001");
    assert_string_equal(canonical("1e300"), "1.0000000000000001e+300");
    assert_string_equal(canonical("'a\"b\\n\\1'"), "\"a\\\"b\\n\\u0001\"");
    assert_string_equal(canonical("'1'"), "\"1\"");
    assert_string_equal(canonical("{}"), "[]");
    assert_string_equal(canonical("{1, 'x', {false}}"), "[1,\"x\",[false]]");
    assert_string_equal(canonical("{b = 1, a = {d = {}, c = 2}}"), "{\"a\":{\"c\":2,\"d\":[]},\"b\":1}");
}

static void keys_are_sorted_by_their_bytes(void **state)
{
    (void)state;
    assert_string_equal(canonical("{ab = 1, a = 2, B = 3, ['a\\0'] = 4, [''] = 5, ['\\195\\164'] = 6}"),
                        "{\"\":5,\"B\":3,\"a\":2,\"a\\u0000\":4,\"ab\":1,\"ä\":6}");
}

static void the_order_in_which_a_table_was_filled_does_not_matter(void **state)
{
    (void)state;
    static const char fill[] = "(function(first, last, step) local t = {}"
                               " for i = first, last, step do t['k' .. i] = i end return t end)";
    char *up, expression[256];

    snprintf(expression, sizeof expression, "%s(1, 300, 1)", fill);
    up = strdup(canonical(expression));
    snprintf(expression, sizeof expression, "%s(300, 1, -1)", fill);
    assert_string_equal(canonical(expression), up);
    free(up);
}

static void what_is_not_plain_is_refused_and_named(void **state)
{
    (void)state;
    assert_refused("print", "the value: a value that is no nil, boolean, number, text or table");
    assert_refused("{job = {needs = {cores = 0/0}}}", "job.needs.cores: a number that is not finite");
    assert_refused("{list = {1, 1/0}}", "list[2]: a number that is not finite");
    assert_refused("{a = {1, nil, 3}}", "a: a table is either a list without holes or has text keys only");
    assert_refused("(function() local t = {1, 2, 3, 4} t[1] = nil return t end)()",
                   "the value: a table is either a list without holes or has text keys only");
    assert_refused("{1, 2, x = 3}",
                   "the value: a table is either a list without holes or has text keys only");
    assert_refused("{[0] = 1}", "the value: a table is either a list without holes or has text keys only");
    assert_refused("{[1.5] = 1, 2}",
                   "the value: a table is either a list without holes or has text keys only");
    assert_refused("{[true] = 1}", "the value: a table is either a list without holes or has text keys only");
    assert_refused("{a = coroutine.create(print)}",
                   "a: a value that is no nil, boolean, number, text or table");
}

static void a_table_in_itself_is_nested_too_deeply(void **state)
{
    (void)state;
    struct err err;

    evaluate("(function() local t = {} t.t = t return t end)()");
    assert_int_equal(copy_read(from, -1, &COPY_LIMITS, &value, &err), -1);
    assert_non_null(strstr(err.message, "nested too deeply"));
    evaluate("(function() local t = {} for i = 1, 100 do t = {t} end return t end)()");
    assert_int_equal(copy_read(from, -1, &(struct copy_limits){.depth = 1000, .size = 10000}, &value, &err),
                     -1);
    assert_non_null(strstr(err.message, "nested too deeply"));
    evaluate("{{{1}}}");
    assert_int_equal(copy_read(from, -1, &(struct copy_limits){.depth = 3, .size = 1000}, &value, &err), 0);
    assert_int_equal(copy_read(from, -1, &(struct copy_limits){.depth = 2, .size = 1000}, &value, &err), -1);
    assert_int_equal(copy_read(from, -1, &(struct copy_limits){.depth = 1000, .size = 1000}, &value, &err),
                     0);
}

static void a_value_over_the_limit_is_refused(void **state)
{
    (void)state;
    struct err err;

    evaluate("('x'):rep(2000)");
    assert_int_equal(copy_read(from, -1, &(struct copy_limits){.depth = 3, .size = 1000}, &value, &err), -1);
    assert_string_equal(err.message, "the value: the value is too big");
}

/* Runs within lua_pcall, as copy_push asks. */
static int push(lua_State *L)
{
    copy_push(L, &value);
    return 1;
}

/* Copies the value on the stack of `from` into a global of `to`. */
static void copy_over(void)
{
    struct err err;

    assert_int_equal(copy_read(from, -1, &COPY_LIMITS, &value, &err), 0);
    lua_pushcfunction(to, push);
    assert_int_equal(lua_pcall(to, 0, 1, 0), 0);
    lua_setglobal(to, "copied");
}

static void a_copy_is_equal_and_shares_nothing(void **state)
{
    (void)state;
    static const char check[] =
        "assert(copied.a == 1 and copied.b[1] == 'x\\0y' and copied.b[2] == false)\n"
        "assert(#copied.b == 2 and next(copied.empty) == nil and copied.half == 0.5)\n"
        "copied.b[1] = 'changed'";
    evaluate("{a = 1, b = {'x\\0y', false}, empty = {}, half = 0.5}");
    copy_over();
    if (luaL_dostring(to, check))
        fail_msg("%s", lua_tostring(to, -1));
    lua_getfield(from, -1, "b");
    lua_rawgeti(from, -1, 1);
    assert_int_equal(lua_objlen(from, -1), 3);
}

static void the_deepest_value_can_be_pushed(void **state)
{
    (void)state;
    evaluate("(function() local t = {} for i = 1, 31 do t = {t, x = nil} end return t end)()");
    copy_over();
    evaluate("(function() local t = {} for i = 1, 10000 do t[i] = {i} end return t end)()");
    copy_over();
    assert_int_equal(luaL_dostring(to, "assert(#copied == 10000 and copied[10000][1] == 10000)"), 0);
}

static void no_metatable_is_looked_at(void **state)
{
    (void)state;
    assert_string_equal(canonical("setmetatable({a = 1}, {__index = error, __len = error, __pairs = error})"),
                        "{\"a\":1}");
}

#ifdef MOONRUNNER_FAULTS
static void every_lack_of_memory_is_a_clean_error(void **state)
{
    (void)state;
    struct err err;
    const char *points[] = {"copy.read", "copy.members", "copy.sort"};

    evaluate("{a = {b = {1, 2}, c = 'x'}, d = 0.5}");
    int top = lua_gettop(from);
    for (size_t i = 0; i < sizeof points / sizeof *points; i++)
        for (unsigned nth = 1;; nth++) {
            fault_reset();
            fault_arm(points[i], nth);
            int result = copy_read(from, -1, &COPY_LIMITS, &value, &err);
            assert_int_equal(lua_gettop(from), top);
            if (fault_count(points[i]) < nth)
                break;
            assert_int_equal(result, -1);
            assert_int_equal(err.code, ERR_NO_MEMORY);
        }
    fault_reset();
    fault_arm("copy.text", 1);
    assert_int_equal(copy_text(&value, &text, &err), -1);
    fault_reset();
}
#endif

int main(void)
{
#define WITH_STATES(test) cmocka_unit_test_setup_teardown(test, open_states, close_states)
    const struct CMUnitTest tests[] = {
        WITH_STATES(every_plain_value_has_one_text),
        WITH_STATES(keys_are_sorted_by_their_bytes),
        WITH_STATES(the_order_in_which_a_table_was_filled_does_not_matter),
        WITH_STATES(what_is_not_plain_is_refused_and_named),
        WITH_STATES(a_table_in_itself_is_nested_too_deeply),
        WITH_STATES(a_value_over_the_limit_is_refused),
        WITH_STATES(a_copy_is_equal_and_shares_nothing),
        WITH_STATES(the_deepest_value_can_be_pushed),
        WITH_STATES(no_metatable_is_looked_at),
#ifdef MOONRUNNER_FAULTS
        WITH_STATES(every_lack_of_memory_is_a_clean_error),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
