/* Errors as Lua sees them: nil, {code = "file.not_found", message = "…", retryable = false, cause = err?}.
 * The table has a metatable: tostring(err) is "code: message". */
#ifndef MOONRUNNER_LUA_LUA_ERR_H
#define MOONRUNNER_LUA_LUA_ERR_H

#include <lua.h>

#include "base/err.h"

void lua_err_push(lua_State *L, const struct err *);
/* Pushes nil and the error; returns 2: `return lua_err_return(L, &err);` */
int lua_err_return(lua_State *L, const struct err *);
/* Reads an error table (or any value) at idx into *err; a value that is no error table becomes `fallback`
 * with its text. Never raises but for memory. */
void lua_err_read(lua_State *L, int idx, enum err_code fallback, struct err *);

#endif
