/* Errors between C and Lua, and the door host.errors that lualib/errors.lua is built on:
 *
 *     host.errors.codes      name -> retryable, the closed list of base/error_codes.h
 *     host.errors.metatable  of every error value: tostring(err) is "code: message" */
#include "lua/lua_err.h"

#include <lauxlib.h>
#include <stdio.h>

#include "lua/doors.h"

static char metatable_key; /* its address is the registry's key for the metatable of error values */

/* (err) -> "code: message" */
static int err_tostring(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "code");
    lua_getfield(L, 1, "message");
    const char *code = lua_tostring(L, -2), *message = lua_tostring(L, -1);
    lua_pushfstring(L, "%s: %s", code != NULL ? code : "internal", message != NULL ? message : "no message");
    return 1;
}

/* () -> metatable */
static void push_metatable(lua_State *L)
{
    lua_pushlightuserdata(L, &metatable_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    if (!lua_isnil(L, -1))
        return;
    lua_pop(L, 1);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, err_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushlightuserdata(L, &metatable_key);
    lua_pushvalue(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

void lua_err_push(lua_State *L, const struct err *err)
{
    luaL_checkstack(L, 5, "an error");
    lua_createtable(L, 0, 4);
    lua_pushstring(L, err_code_name(err->code));
    lua_setfield(L, -2, "code");
    lua_pushstring(L, err->message);
    lua_setfield(L, -2, "message");
    lua_pushboolean(L, err->retryable);
    lua_setfield(L, -2, "retryable");
    push_metatable(L);
    lua_setmetatable(L, -2);
}

int lua_err_return(lua_State *L, const struct err *err)
{
    lua_pushnil(L);
    lua_err_push(L, err);
    return 2;
}

/* The field as text, without calling anything of the value's own. */
static const char *raw_text(lua_State *L, int index, const char *name)
{
    lua_pushstring(L, name);
    lua_rawget(L, index);
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    lua_pop(L, 1); /* the table still holds it */
    return text;
}

void lua_err_read(lua_State *L, int index, enum err_code fallback, struct err *err)
{
    if (index < 0 && index > LUA_REGISTRYINDEX)
        index += lua_gettop(L) + 1;
    if (lua_type(L, index) == LUA_TSTRING || lua_type(L, index) == LUA_TNUMBER) {
        char number[32];
        snprintf(number, sizeof number, "%.14g", lua_tonumber(L, index));
        err_set(err, fallback, "%s", lua_type(L, index) == LUA_TNUMBER ? number : lua_tostring(L, index));
        return;
    }
    const char *code = lua_istable(L, index) ? raw_text(L, index, "code") : NULL;
    const char *message = code != NULL ? raw_text(L, index, "message") : NULL;
    if (message == NULL || err_code_find(code) == ERR_CODE_COUNT) {
        err_set(err, fallback, "a %s was raised as an error", luaL_typename(L, index));
        return;
    }
    err_set(err, err_code_find(code), "%s", message);
    lua_pushliteral(L, "retryable");
    lua_rawget(L, index);
    err->retryable = lua_toboolean(L, -1);
    lua_pop(L, 1);
}

int luaopen_host_errors(lua_State *L)
{
    lua_createtable(L, 0, 2);
    lua_createtable(L, 0, ERR_CODE_COUNT);
    for (enum err_code code = ERR_NONE + 1; code < ERR_CODE_COUNT; code++) {
        lua_pushboolean(L, err_code_retryable(code));
        lua_setfield(L, -2, err_code_name(code));
    }
    lua_setfield(L, -2, "codes");
    push_metatable(L);
    lua_setfield(L, -2, "metatable");
    return 1;
}
