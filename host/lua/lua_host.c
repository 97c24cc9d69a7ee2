/* The table `host`: every door of lua/doors.h under its name, and the struct host behind them (lua/host.h).
 */
#include "lua/host.h"

#include <lauxlib.h>

#include "lua/doors.h"

static char host_key; /* its address is the registry's key for the struct host */

void host_set(lua_State *L, struct host *host)
{
    lua_pushlightuserdata(L, &host_key);
    lua_pushlightuserdata(L, host);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

struct host *host_get(lua_State *L)
{
    lua_pushlightuserdata(L, &host_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    struct host *host = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (host == NULL)
        luaL_error(L, "this Lua state belongs to no host");
    return host;
}

void host_open(lua_State *L)
{
    static const luaL_Reg doors[] = {
#define X(NAME) {#NAME, luaopen_host_##NAME},
        HOST_DOORS(X)
#undef X
    };
    const size_t n = sizeof doors / sizeof doors[0];
    lua_createtable(L, 0, (int)n);
    for (size_t i = 0; i < n; i++) {
        lua_pushcfunction(L, doors[i].func);
        lua_call(L, 0, 1);
        lua_setfield(L, -2, doors[i].name);
    }
    lua_setglobal(L, "host");
}
