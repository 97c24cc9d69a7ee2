/* The allow-lists: everything that trusted code and scripts can name, in full. A new name is added here on
 * purpose or not at all (lua/sandbox.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "lua/host.h"
#include "lua/sandbox.h"

/* What every one of them may use. */
static const char *const language[] = {
    "assert",       "error",         "getmetatable",   "host",          "ipairs",         "next",
    "pairs",        "pcall",         "print",          "rawequal",      "rawget",         "rawset",
    "require",      "select",        "setmetatable",   "tonumber",      "tostring",       "type",
    "unpack",       "xpcall",

    "bit.arshift",  "bit.band",      "bit.bnot",       "bit.bor",       "bit.bswap",      "bit.bxor",
    "bit.lshift",   "bit.rol",       "bit.ror",        "bit.rshift",    "bit.tobit",      "bit.tohex",

    "math.abs",     "math.acos",     "math.asin",      "math.atan",     "math.atan2",     "math.ceil",
    "math.cos",     "math.cosh",     "math.deg",       "math.exp",      "math.floor",     "math.fmod",
    "math.frexp",   "math.huge",     "math.ldexp",     "math.log",      "math.log10",     "math.max",
    "math.min",     "math.modf",     "math.pi",        "math.pow",      "math.rad",       "math.sin",
    "math.sinh",    "math.sqrt",     "math.tan",       "math.tanh",     "math.mod",

    "string.byte",  "string.char",   "string.find",    "string.format", "string.gmatch",  "string.gsub",
    "string.len",   "string.lower",  "string.match",   "string.rep",    "string.reverse", "string.sub",
    "string.upper", "string.gfind",

    "table.concat", "table.foreach", "table.foreachi", "table.getn",    "table.insert",   "table.maxn",
    "table.move",   "table.remove",  "table.sort"};

static const char *const trusted_only[] = {"_G", "math.random", "math.randomseed", "string.dump"};

static bool is_in(const char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static bool is_known(const char *name, bool trusted)
{
    return is_in(language, sizeof language / sizeof *language, name) ||
           (trusted && is_in(trusted_only, sizeof trusted_only / sizeof *trusted_only, name));
}

/* (table at index): fails on a name that no list has; `host` is walked by nobody, for its parts are
 * documented elsewhere */
static void walk(lua_State *L, int table, const char *prefix, bool trusted)
{
    for (lua_pushnil(L); lua_next(L, table) != 0; lua_pop(L, 1)) {
        assert_int_equal(lua_type(L, -2), LUA_TSTRING);
        char name[128];
        snprintf(name, sizeof name, "%s%s", prefix, lua_tostring(L, -2));
        bool is_library =
            prefix[0] == '\0' && lua_istable(L, -1) && strcmp(name, "_G") != 0 && strcmp(name, "host") != 0;
        if (is_library) {
            strcat(name, ".");
            walk(L, lua_gettop(L), name, trusted);
        } else if (!is_known(name, trusted)) {
            fail_msg("%s is in no list of the sandbox", name);
        }
    }
}

static int set_up(void **state)
{
    static struct host host = {.home = "."};
    lua_State *L = luaL_newstate();
    sandbox_open(L, "lualib");
    host_set(L, &host);
    host_open(L);
    *state = L;
    return 0;
}

static int tear_down(void **state)
{
    lua_close(*state);
    return 0;
}

static void trusted_code_can_name_what_the_list_has_and_nothing_else(void **state)
{
    lua_State *L = *state;
    lua_pushvalue(L, LUA_GLOBALSINDEX);
    walk(L, 1, "", true);
}

static void a_script_can_name_what_the_list_has_and_nothing_else(void **state)
{
    lua_State *L = *state;
    sandbox_push_environment(L);
    walk(L, 1, "", false);
    for (size_t i = 0; i < sizeof language / sizeof *language; i++) {
        if (strchr(language[i], '.') != NULL)
            continue;
        lua_pushstring(L, language[i]);
        lua_rawget(L, 1);
        if (lua_isnil(L, -1))
            fail_msg("%s is missing", language[i]);
        lua_pop(L, 1);
    }
}

static void a_script_sees_the_doors_that_are_for_scripts(void **state)
{
    static const char *const doors[] = {"archive", "digest",   "environment", "errors", "file", "json", "log",
                                        "process", "quantity", "random",      "system", "task", "time"};
    lua_State *L = *state;
    sandbox_push_environment(L);
    lua_getfield(L, 1, "host");
    for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1))
        if (!is_in(doors, sizeof doors / sizeof *doors, lua_tostring(L, -2)))
            fail_msg("host.%s is new: is it for scripts?", lua_tostring(L, -2));
}

static void libraries_of_the_full_language_are_in_no_registry_either(void **state)
{
    static const char *const names[] = {"os", "io", "debug", "package", "coroutine", "jit", "ffi"};
    lua_State *L = *state;
    lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
    for (size_t i = 0; lua_istable(L, -1) && i < sizeof names / sizeof *names; i++) {
        lua_getfield(L, -1, names[i]);
        assert_true(lua_isnil(L, -1));
        lua_pop(L, 1);
    }
}

static void a_module_name_leads_nowhere_but_into_the_folder(void **state)
{
    (void)state;
    assert_true(sandbox_module_name("scope"));
    assert_true(sandbox_module_name("queue.folder_2"));
    static const char *const wrong[] = {"",    ".",   "a.",  ".a",       "a..b", "../a",
                                        "a/b", "a b", "a\n", "\xC3\xA4", "a-b"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(sandbox_module_name(wrong[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(trusted_code_can_name_what_the_list_has_and_nothing_else, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_script_can_name_what_the_list_has_and_nothing_else, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_script_sees_the_doors_that_are_for_scripts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(libraries_of_the_full_language_are_in_no_registry_either, set_up,
                                        tear_down),
        cmocka_unit_test(a_module_name_leads_nowhere_but_into_the_folder),
    };
    return cmocka_run_group_tests_name("sandbox", tests, NULL, NULL);
}
