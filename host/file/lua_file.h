/* What the doors of this folder share: handles as Lua values, and arguments. Loop thread. */
#ifndef MOONRUNNER_FILE_LUA_FILE_H
#define MOONRUNNER_FILE_LUA_FILE_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>

#include "file/file.h"

/* The open directory at idx; raises for anything else, a closed one included. */
struct dir *lua_file_dir(lua_State *L, int idx);
/* The name at idx, without slashes at its end (they would make the kernel follow a link). false: err says why
 * no file can have it. Raises for what is no string. */
bool lua_file_name(lua_State *L, int idx, const char **name, struct err *);
/* Pushes true, or nil and the error; returns how many. */
int lua_file_answer(lua_State *L, int status, const struct err *);
/* Makes the metatable `type` with these methods and this __gc, and leaves the stack as it was. */
void lua_file_type(lua_State *L, const char *type, const luaL_Reg *methods, lua_CFunction gc);

/* dir:remove_tree, dir:tree_size and dir:copy (lua_file_work.c) and dir:watch (lua_file_watch.c). */
int lua_file_remove_tree(lua_State *L);
int lua_file_tree_size(lua_State *L);
int lua_file_copy(lua_State *L);
int lua_file_watch(lua_State *L);
void lua_file_watch_types(lua_State *L);

#endif
