/* The door host.bundle, for the host's own Lua (scripts do not see it):
 *
 *     host.bundle.open(folder, shipped?) -> {name = what NAME.lua returns}, hash | nil, err
 *
 * Files that `folder` does not have are taken from `shipped`. Does not wait. */
#include "lua/bundle.h"

#include <lauxlib.h>

#include "lua/doors.h"
#include "lua/lua_err.h"
#include "lua/task.h"

static int open_bundle(lua_State *L)
{
    const char *folder = luaL_checkstring(L, 1), *shipped = luaL_optstring(L, 2, NULL);
    char hash[65];
    struct err err;
    if (bundle_open(L, engine_budget(engine_of(L)), folder, shipped, hash, &err) != 0)
        return lua_err_return(L, &err);
    lua_pushstring(L, hash);
    return 2;
}

int luaopen_host_bundle(lua_State *L)
{
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, open_bundle);
    lua_setfield(L, -2, "open");
    return 1;
}
