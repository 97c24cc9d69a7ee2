/* The door host.random: names that nobody else has.
 *
 *     host.random.hex(digits) -> string      host.random.uuid() -> string */
#include <lauxlib.h>

#include "base/random.h"
#include "lua/doors.h"

enum { MAX_DIGITS = 256 };

static int random_hex_digits(lua_State *L)
{
    int digits = luaL_checkint(L, 1);
    luaL_argcheck(L, digits >= 1 && digits <= MAX_DIGITS, 1, "from 1 to 256 digits");
    char text[MAX_DIGITS + 1];
    random_hex(text, (size_t)digits);
    lua_pushlstring(L, text, (size_t)digits);
    return 1;
}

static int random_uuid_text(lua_State *L)
{
    char text[37];
    random_uuid(text);
    lua_pushstring(L, text);
    return 1;
}

int luaopen_host_random(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"hex", random_hex_digits}, {"uuid", random_uuid_text}, {NULL, NULL}};
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
