/* Log fields out of a Lua table. Loop thread. */
#ifndef MOONRUNNER_LUA_LUA_LOG_H
#define MOONRUNNER_LUA_LUA_LOG_H

#include <lua.h>

#include "base/log.h"

enum { LUA_LOG_MAX_FIELDS = 24 };

/* Reads the table at index (positive; none or nil: no field), sorted by name. Texts stay the table's. Raises
 * when a value is no string, number or boolean, or when there are too many. Returns how many. */
size_t lua_log_fields(lua_State *L, int index, struct log_field out[LUA_LOG_MAX_FIELDS]);

#endif
