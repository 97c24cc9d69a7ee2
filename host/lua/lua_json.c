/* host.json: is a text strictly valid JSON, and where are the members of its outermost object? */
#include <lauxlib.h>
#include <lua.h>
#include <math.h>

#include "base/json_text.h"
#include "lua/doors.h"
#include "lua/lua_err.h"

#define MEMBERS_MAX_DEPTH 1000 /* as deep as lua-cjson goes */

/* check(text, max_depth) -> true | nil, err */
static int check(lua_State *L)
{
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    lua_Number max_depth = luaL_checknumber(L, 2);
    luaL_argcheck(L, max_depth >= 0 && max_depth <= 1e9 && floor(max_depth) == max_depth, 2,
                  "a depth is a whole number from 0");
    struct err err;
    if (json_text_check(text, size, (unsigned)max_depth, &err) < 0)
        return lua_err_return(L, &err);
    lua_pushboolean(L, 1);
    return 1;
}

struct listing {
    lua_State *L;
    const char *text;
    int n;
};

static void push_key(lua_State *L, const char *quoted, size_t size)
{
    char *meaning = lua_newuserdata(L, size);
    lua_pushlstring(L, meaning, json_text_unescape(quoted, size, meaning));
    lua_remove(L, -2);
}

static void set_offset(lua_State *L, const char *name, size_t offset)
{
    lua_pushnumber(L, (lua_Number)offset);
    lua_setfield(L, -2, name);
}

/* Stack: list -> list with one member more. Ends are exclusive in C and inclusive, from 1, in Lua. */
static void add_member(const struct json_member *member, void *arg)
{
    struct listing *listing = arg;
    lua_State *L = listing->L;
    lua_createtable(L, 0, 5);
    push_key(L, listing->text + member->key_start, member->key_end - member->key_start);
    lua_setfield(L, -2, "key");
    set_offset(L, "start", member->key_start + 1);
    set_offset(L, "stop", member->key_end);
    set_offset(L, "value_start", member->value_start + 1);
    set_offset(L, "value_stop", member->value_end);
    lua_rawseti(L, -2, ++listing->n);
}

/* members(text) -> list, object_start, object_stop | nil, err. Checks the text itself: spans of an invalid
 * text would mislead. */
static int members(lua_State *L)
{
    size_t size, object_start, object_end;
    const char *text = luaL_checklstring(L, 1, &size);
    struct err err;
    if (json_text_check(text, size, MEMBERS_MAX_DEPTH, &err) < 0)
        return lua_err_return(L, &err);
    struct listing listing = {.L = L, .text = text};
    lua_newtable(L);
    if (json_text_members(text, size, &object_start, &object_end, add_member, &listing, &err) < 0)
        return lua_err_return(L, &err);
    lua_pushnumber(L, (lua_Number)(object_start + 1));
    lua_pushnumber(L, (lua_Number)(object_end + 1));
    return 3;
}

int luaopen_host_json(lua_State *L)
{
    static const luaL_Reg functions[] = {{"check", check}, {"members", members}, {NULL, NULL}};
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
