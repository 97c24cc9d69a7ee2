/* host.digest: SHA-256 of a text. Digests of files and streams come from where the bytes pass (host.archive).
 */
#include <lauxlib.h>
#include <lua.h>

#include "base/sha256.h"
#include "lua/doors.h"

/* sha256(text) -> 64 hexadecimal digits */
static int sha256(lua_State *L)
{
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    char hex[65];
    sha256_hex_of(text, size, hex);
    lua_pushlstring(L, hex, 64);
    return 1;
}

int luaopen_host_digest(lua_State *L)
{
    static const luaL_Reg functions[] = {{"sha256", sha256}, {NULL, NULL}};
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
