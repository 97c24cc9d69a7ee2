/* A directory handle of host.file (file/lua_file.c) as the doors of other folders see it: they meet in Lua.
 */
#ifndef MOONRUNNER_LUA_LUA_DIR_H
#define MOONRUNNER_LUA_LUA_DIR_H

#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>

#define LUA_DIR_TYPE "host.file.dir"

/* How the userdata begins; it may go on. */
struct lua_dir {
    int fd;           /* AT_FDCWD: host.file.root; -1: closed */
    const char *path; /* for messages; "" for host.file.root */
};

/* The open handle at idx; raises for anything else, a closed one included. */
static inline const struct lua_dir *lua_dir_check(lua_State *L, int idx)
{
    const struct lua_dir *dir = (const struct lua_dir *)luaL_checkudata(L, idx, LUA_DIR_TYPE);
    if (dir->fd == -1)
        luaL_argerror(L, idx, "this directory handle is closed");
    return dir;
}

#endif
