/* host.options: every option's value for Lua, and none that can be mistaken or changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "lua/doors.h"
#include "lua/host.h"
#include "options.h"

static const struct option entries[] = {
    {.group = "All"},
    {.name = "queue.folder", .type = OPTION_PATH, .standard = "/q", .help = "."},
    {.name = "queue.url", .type = OPTION_TEXT, .standard = "off", .off = "none", .help = "."},
    {.name = "max.mem", .type = OPTION_BYTES, .standard = "1KiB", .help = "."},
    {.name = "grace", .type = OPTION_DURATION, .standard = "10s", .help = "."},
    {.name = "debug", .type = OPTION_BOOLEAN, .standard = "false", .help = "."},
    {.name = "inherit", .type = OPTION_LIST, .standard = "A,B", .help = "."},
};
static const struct option_table table = {entries, sizeof entries / sizeof *entries};

static int load(lua_State *L)
{
    luaopen_host_options(L);
    lua_setglobal(L, "options");
    return 0;
}

static void run(const struct options *options, const char *code)
{
    struct host host = {.options = options};
    lua_State *L = luaL_newstate();
    assert_non_null(L);
    luaL_openlibs(L);
    host_set(L, &host);
    int failed = lua_cpcall(L, load, NULL) || luaL_dostring(L, code);
    if (failed)
        print_error("%s\n", lua_tostring(L, -1));
    lua_close(L);
    assert_false(failed);
}

static void every_value_is_there_under_its_dotted_name(void **state)
{
    (void)state;
    char *environment[] = {NULL};
    struct buffer errors = BUFFER_EMPTY;
    struct options *options = options_load(&table, 0, NULL, environment, &errors);
    assert_non_null(options);
    run(options, "assert(options['queue.folder'] == '/q')\n"
                 "assert(options['queue.url'] == false)\n"
                 "assert(options['max.mem'] == 1024)\n"
                 "assert(options.grace == 10000)\n"
                 "assert(options.debug == false)\n"
                 "local list = options.inherit\n"
                 "assert(#list == 2 and list[1] == 'A' and list[2] == 'B')\n");
    options_free(options);
    buffer_free(&errors);
}

static void an_unknown_name_and_a_change_raise(void **state)
{
    (void)state;
    char *environment[] = {NULL};
    struct buffer errors = BUFFER_EMPTY;
    struct options *options = options_load(&table, 0, NULL, environment, &errors);
    run(options, "local ok, message = pcall(function() return options['queue.foldr'] end)\n"
                 "assert(not ok and message:find('there is no option queue.foldr', 1, true), message)\n"
                 "local ok, message = pcall(function() options.grace = 1 end)\n"
                 "assert(not ok and message:find('options are read-only', 1, true), message)\n"
                 "assert(options.grace == 10000 and getmetatable(options) == false)\n"
                 "assert(not pcall(setmetatable, options, {}))\n");
    run(NULL, "assert(not pcall(function() return options.grace end))");
    options_free(options);
    buffer_free(&errors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_is_there_under_its_dotted_name),
        cmocka_unit_test(an_unknown_name_and_a_change_raise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
