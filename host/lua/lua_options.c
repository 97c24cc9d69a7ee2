/* host.options: every option's value under its dotted name. Read-only; a name that is no option raises. */
#include <lauxlib.h>
#include <lua.h>

#include "lua/doors.h"
#include "lua/host.h"
#include "options.h"

static int raise_unknown(lua_State *L)
{
    return luaL_error(L, "there is no option %s", luaL_checkstring(L, 2));
}

static int raise_read_only(lua_State *L)
{
    return luaL_error(L, "options are read-only");
}

static void push_list(lua_State *L, const struct options *o, const char *name)
{
    size_t n;
    const char *const *items = options_list(o, name, &n);
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        lua_pushstring(L, items[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

/* Stack: values -> values with one more. */
static void add_value(const struct options *o, const struct option *option, void *arg)
{
    lua_State *L = arg;
    switch (option->type) {
    case OPTION_TEXT:
    case OPTION_PATH:
        if (options_text(o, option->name))
            lua_pushstring(L, options_text(o, option->name));
        else
            lua_pushboolean(L, 0);
        break;
    case OPTION_BOOLEAN:
        lua_pushboolean(L, options_boolean(o, option->name));
        break;
    case OPTION_LIST:
        push_list(L, o, option->name);
        break;
    case OPTION_INTEGER:
    case OPTION_BYTES:
    case OPTION_DURATION:
        lua_pushnumber(L, (lua_Number)options_integer(o, option->name));
        break;
    }
    lua_setfield(L, -2, option->name);
}

/* An empty table that looks into the table of values, which raises for what it has not. */
int luaopen_host_options(lua_State *L)
{
    const struct options *o = host_get(L)->options;
    lua_newtable(L);
    lua_newtable(L); /* its metatable */
    lua_newtable(L); /* the values */
    if (o)
        options_each(o, add_value, L);
    lua_newtable(L);
    lua_pushcfunction(L, raise_unknown);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, raise_read_only);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    return 1;
}
