/* The Lua state of the decision core: lualib/scheduler.lua with five policies, and nothing of `host`. Loop
 * thread. */
#ifndef MOONRUNNER_LUA_CORE_STATE_H
#define MOONRUNNER_LUA_CORE_STATE_H

#include <lua.h>

#include "base/err.h"

/* Folders. A policy that is not in `policies` is taken from `shipped`. */
struct core_paths {
    const char *lualib, *policies, *shipped;
};

/* The caller closes it with lua_close. NULL: file.*, policy.invalid or internal; names file and line. */
lua_State *core_state_open(const struct core_paths *, struct err *);

/* () -> method, core object; ready for lua_call with the arguments added. Within a protected call. */
void core_state_push_method(lua_State *core, const char *name);

/* Turns the message that a failed lua_cpcall left on the core's stack into err; the stack is empty
 * afterwards. */
void core_state_take_error(lua_State *core, enum err_code code, struct err *err);

#endif
