/* host.quantity: byte strings and durations, read and written the one way that every part uses. */
#include <lauxlib.h>
#include <lua.h>
#include <math.h>

#include "base/quantity.h"
#include "lua/doors.h"
#include "lua/lua_err.h"

#define EXACT_MAX 0x1p53 /* up to here a Lua number holds every integer */

/* parse_bytes(text or number) -> bytes | nil, err. A number is bytes already: messages may carry it so. */
static int parse_bytes(lua_State *L)
{
    struct err err;
    if (lua_type(L, 1) == LUA_TNUMBER) {
        lua_Number n = lua_tonumber(L, 1);
        if (n >= 0 && n <= EXACT_MAX && floor(n) == n) {
            lua_settop(L, 1);
            return 1;
        }
        err_set(&err, ERR_BYTES_INVALID, "%.14g is no number of bytes: it must be a whole number from 0", n);
        return lua_err_return(L, &err);
    }
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    int64_t bytes;
    if (quantity_parse_bytes(text, size, &bytes, &err) < 0)
        return lua_err_return(L, &err);
    lua_pushnumber(L, (lua_Number)bytes);
    return 1;
}

/* parse_duration(text) -> ms | nil, err */
static int parse_duration(lua_State *L)
{
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    struct err err;
    int64_t ms;
    if (quantity_parse_duration(text, size, &ms, &err) < 0)
        return lua_err_return(L, &err);
    lua_pushnumber(L, (lua_Number)ms);
    return 1;
}

static int64_t check_amount(lua_State *L)
{
    lua_Number n = luaL_checknumber(L, 1);
    luaL_argcheck(L, n >= 0 && n <= EXACT_MAX, 1, "an amount is a number from 0 to 2^53");
    return (int64_t)n;
}

/* format_bytes(n) -> "1.5 GiB" */
static int format_bytes(lua_State *L)
{
    char text[QUANTITY_TEXT_SIZE];
    quantity_format_bytes(check_amount(L), text);
    lua_pushstring(L, text);
    return 1;
}

/* format_duration(ms) -> "12.3 s" */
static int format_duration(lua_State *L)
{
    char text[QUANTITY_TEXT_SIZE];
    quantity_format_duration(check_amount(L), text);
    lua_pushstring(L, text);
    return 1;
}

int luaopen_host_quantity(lua_State *L)
{
    static const luaL_Reg functions[] = {{"parse_bytes", parse_bytes},
                                         {"parse_duration", parse_duration},
                                         {"format_bytes", format_bytes},
                                         {"format_duration", format_duration},
                                         {NULL, NULL}};
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
