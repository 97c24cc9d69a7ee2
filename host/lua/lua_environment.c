/* Door host.environment: the environment that the host itself was started with. Read only; jobs inherit
 * nothing of it but what trusted Lua copies by name. */
#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lua/doors.h"
#include "lua/lua_err.h"

/* host.environment.get(name) -> text | nil; an empty variable counts as unset. */
static int environment_get(lua_State *L)
{
    const char *value = getenv(luaL_checkstring(L, 1));
    if (value == NULL || *value == '\0')
        return 0;
    lua_pushstring(L, value);
    return 1;
}

/* host.environment.with_prefix(prefix) -> {NAME = text…} */
static int environment_with_prefix(lua_State *L)
{
    size_t size;
    const char *prefix = luaL_checklstring(L, 1, &size);
    lua_newtable(L);
    for (char **entry = environ; *entry != NULL; entry++) {
        const char *equals = strchr(*entry, '=');
        if (equals == NULL || strncmp(*entry, prefix, size) != 0)
            continue;
        lua_pushlstring(L, *entry, (size_t)(equals - *entry));
        lua_pushstring(L, equals + 1);
        lua_settable(L, -3);
    }
    return 1;
}

/* host.environment.working_folder() -> absolute path of the folder the host was started in | nil, err */
static int environment_working_folder(lua_State *L)
{
    struct err err;
    char *path = getcwd(NULL, 0);
    if (path == NULL) {
        err_set_file(&err, errno, "the working folder");
        return lua_err_return(L, &err);
    }
    lua_pushstring(L, path);
    free(path);
    return 1;
}

int luaopen_host_environment(lua_State *L)
{
    static const luaL_Reg functions[] = {{"get", environment_get},
                                         {"with_prefix", environment_with_prefix},
                                         {"working_folder", environment_working_folder},
                                         {NULL, NULL}};
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
