/* The allow-lists of trusted code and of scripts (lua/sandbox.h). */
#include "lua/sandbox.h"

#include <ctype.h>
#include <lauxlib.h>
#include <lua-cjson.h>
#include <lualib.h>
#include <string.h>

#include "base/log.h"
#include "lua/source.h"

/* Functions of the base library. Not here, because they lead out or around: load* and dofile (code from
 * anywhere), getfenv and setfenv (other code's environment), newproxy (finalizers run outside any budget),
 * collectgarbage. */
static const char *const base_names[] = {
    "assert", "error",  "getmetatable", "ipairs",       "next",     "pairs",    "pcall", "rawequal",
    "rawget", "rawset", "select",       "setmetatable", "tonumber", "tostring", "type",  "unpack"};
static const char *const trusted_names[] = {"_G", "bit", "math", "string", "table", "xpcall"};
static const char *const library_names[] = {"bit", "math", "string", "table"};
/* Left out of the libraries: bytecode, and hidden state that all scripts would share. */
static const char *const dropped_names[] = {"dump", "random", "randomseed"};
/* Parts of `host` that run the host itself: no business of a script. */
static const char *const host_only_names[] = {"account", "bundle",    "console",
                                              "options", "scheduler", "signal"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool contains(const char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* --- print and xpcall --------------------------------------------------------------------------------- */

/* (values…): one line of the log, as print would write it */
static int log_print(lua_State *L)
{
    luaL_Buffer text;
    int n = lua_gettop(L);
    luaL_buffinit(L, &text);
    for (int i = 1; i <= n; i++) {
        if (i > 1)
            luaL_addchar(&text, '\t');
        lua_getglobal(L, "tostring");
        lua_pushvalue(L, i);
        lua_call(L, 1, 1);
        if (!lua_isstring(L, -1))
            return luaL_error(L, "print: tostring must return a string");
        luaL_addvalue(&text);
    }
    luaL_pushresult(&text);
    lua_getglobal(L, "host");
    lua_getfield(L, -1, "log");
    lua_pushliteral(L, "info");
    lua_pushstring(L, log_event_name(EVENT_SCRIPT_LOGGED));
    lua_createtable(L, 0, 1);
    lua_pushvalue(L, n + 1);
    lua_setfield(L, -2, "text");
    lua_call(L, 3, 0);
    return 0;
}

/* LuaJIT's own xpcall runs the handler where the error was raised: there no hook can interrupt it. */
static const char xpcall_source[] = "local pcall, select = pcall, select\n"
                                    "local function handled(handler, ok, ...)\n"
                                    "  if ok then return true, ... end\n"
                                    "  return false, select(2, pcall(handler, ...))\n"
                                    "end\n"
                                    "return function(f, handler, ...)\n"
                                    "  return handled(handler, pcall(f, ...))\n"
                                    "end\n";

/* () -> xpcall */
static void push_xpcall(lua_State *L)
{
    if (luaL_loadbufferx(L, xpcall_source, sizeof xpcall_source - 1, "=xpcall", "t") != 0)
        lua_error(L);
    lua_call(L, 0, 1);
}

/* --- trusted code ------------------------------------------------------------------------------------- */

bool sandbox_module_name(const char *name)
{
    char before = '.';
    for (; *name != '\0'; before = *name++)
        if (*name == '.' ? before == '.' : !isalnum((unsigned char)*name) && *name != '_')
            return false;
    return before != '.';
}

/* (name) -> (name, function that returns the module) */
static void push_loader(lua_State *L, const char *name, const char *lualib)
{
    struct buffer text = BUFFER_EMPTY;
    struct err err;
    if (strcmp(name, "cjson") == 0) {
        lua_pushcfunction(L, luaopen_cjson);
        return;
    }
    if (!sandbox_module_name(name))
        luaL_error(L, "require: \"%s\" is no module name", name);
    const char *relative = luaL_gsub(L, name, ".", "/");
    const char *label = lua_pushfstring(L, "lualib/%s.lua", relative);
    const char *path = lua_pushfstring(L, "%s/%s.lua", lualib, relative);
    int status = source_read(path, &text, &err) == 0 ? source_load(L, &text, label, &err) : -1;
    buffer_free(&text);
    if (status != 0)
        luaL_error(L, "require \"%s\": %s", name, err.message);
    lua_replace(L, 2);
    lua_settop(L, 2);
}

/* require(name) -> module. Upvalues: the modules that are loaded, the folder */
static int trusted_require(lua_State *L)
{
    static char loading; /* marks a module whose file runs */
    const char *name = luaL_checkstring(L, 1);
    lua_settop(L, 1);
    lua_getfield(L, lua_upvalueindex(1), name);
    if (lua_touserdata(L, -1) == &loading)
        return luaL_error(L, "require \"%s\": it requires itself, by way of others", name);
    if (!lua_isnil(L, -1))
        return 1;
    lua_settop(L, 1);
    push_loader(L, name, lua_tostring(L, lua_upvalueindex(2)));
    lua_pushlightuserdata(L, &loading);
    lua_setfield(L, lua_upvalueindex(1), name);
    lua_pushvalue(L, 1);
    int status = lua_pcall(L, 1, 1, 0);
    if (status != 0 || lua_isnil(L, -1)) {
        if (status == 0)
            lua_pushfstring(L, "require \"%s\": the file returns no module", name);
        lua_pushnil(L);
        lua_setfield(L, lua_upvalueindex(1), name);
        return lua_error(L);
    }
    lua_pushvalue(L, -1);
    lua_setfield(L, lua_upvalueindex(1), name);
    return 1;
}

static void open_libraries(lua_State *L)
{
    static const luaL_Reg libraries[] = {{"", luaopen_base},
                                         {LUA_TABLIBNAME, luaopen_table},
                                         {LUA_STRLIBNAME, luaopen_string},
                                         {LUA_MATHLIBNAME, luaopen_math},
                                         {LUA_BITLIBNAME, luaopen_bit}};
    for (size_t i = 0; i < COUNT(libraries); i++) {
        lua_pushcfunction(L, libraries[i].func);
        lua_pushstring(L, libraries[i].name);
        lua_call(L, 1, 0);
    }
}

/* Takes every field of the table at index away that is in none of the two lists. */
static void keep_only(lua_State *L, int index, const char *const *more, size_t n_more)
{
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        if (contains(base_names, COUNT(base_names), name) || contains(more, n_more, name))
            continue;
        lua_pushvalue(L, -2);
        lua_pushnil(L);
        lua_rawset(L, index); /* an existing field may be cleared during the walk */
    }
}

void sandbox_open(lua_State *L, const char *lualib)
{
    int top = lua_gettop(L);
    open_libraries(L);
    lua_pushvalue(L, LUA_GLOBALSINDEX);
    int globals = lua_gettop(L);
    keep_only(L, globals, trusted_names, COUNT(trusted_names));
    lua_pushnil(L);
    lua_setfield(L, LUA_REGISTRYINDEX, "_LOADED"); /* all libraries that were opened, coroutine among them */
    lua_pushcfunction(L, log_print);
    lua_setfield(L, globals, "print");
    lua_newtable(L);
    lua_pushstring(L, lualib);
    lua_pushcclosure(L, trusted_require, 2);
    lua_setfield(L, globals, "require");
    lua_pushliteral(L, "");
    if (lua_getmetatable(L, -1)) { /* what all strings share is nobody's to change */
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_settop(L, top);
}

/* --- scripts ------------------------------------------------------------------------------------------ */

static bool is_plain_table(lua_State *L, int index)
{
    if (!lua_istable(L, index))
        return false;
    if (!lua_getmetatable(L, index))
        return true;
    lua_pop(L, 1);
    return false;
}

/* -> a copy of the table at index, with copies of the plain tables in it, without the names of the list */
static void push_copy(lua_State *L, int index, const char *const *without, size_t n_without)
{
    luaL_checkstack(L, 8, "a sandbox");
    lua_newtable(L);
    int copy = lua_gettop(L), key = copy + 1, value = copy + 2;
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_settop(L, key)) {
        if (lua_type(L, key) == LUA_TSTRING && contains(without, n_without, lua_tostring(L, key)))
            continue;
        lua_pushvalue(L, key);
        if (is_plain_table(L, value))
            push_copy(L, value, NULL, 0);
        else
            lua_pushvalue(L, value);
        lua_rawset(L, copy);
    }
}

/* (environment, name) */
static int unknown_name(lua_State *L)
{
    lua_getglobal(L, "tostring");
    lua_pushvalue(L, 2);
    lua_call(L, 1, 1);
    return luaL_error(L, "there is no name \"%s\" here", lua_tostring(L, -1));
}

/* (environment, name, value) */
static int new_name(lua_State *L)
{
    lua_getglobal(L, "tostring");
    lua_pushvalue(L, 2);
    lua_call(L, 1, 1);
    return luaL_error(L, "\"%s\" would be a global variable, which all jobs would share: make it local",
                      lua_tostring(L, -1));
}

/* (environment) -> (environment), with the copies of the tables */
static void add_tables(lua_State *L, int environment)
{
    for (size_t i = 0; i < COUNT(library_names); i++) {
        lua_getglobal(L, library_names[i]);
        push_copy(L, lua_gettop(L), dropped_names, COUNT(dropped_names));
        lua_setfield(L, environment, library_names[i]);
    }
    lua_getglobal(L, "host");
    if (lua_istable(L, -1)) {
        push_copy(L, lua_gettop(L), host_only_names, COUNT(host_only_names));
        lua_setfield(L, environment, "host");
    }
    lua_settop(L, environment);
}

void sandbox_push_environment(lua_State *L)
{
    lua_newtable(L);
    int environment = lua_gettop(L);
    for (size_t i = 0; i < COUNT(base_names); i++) {
        lua_getglobal(L, base_names[i]);
        lua_setfield(L, environment, base_names[i]);
    }
    lua_getglobal(L, "require");
    lua_setfield(L, environment, "require");
    lua_pushcfunction(L, log_print);
    lua_setfield(L, environment, "print");
    push_xpcall(L);
    lua_setfield(L, environment, "xpcall");
    add_tables(L, environment);
    lua_createtable(L, 0, 3);
    lua_pushcfunction(L, unknown_name);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, new_name);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, environment);
}
