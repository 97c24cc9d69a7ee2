/* The program's Lua state, and the one root task that runs a command (lualib/cli/). Loop thread.
 *
 * What main.c needs of Lua, so that it includes no Lua header itself. */
#ifndef MOONRUNNER_LUA_COMMAND_H
#define MOONRUNNER_LUA_COMMAND_H

#include <lua.h>

#include "base/err.h"

struct engine;
struct host;
struct task_end;

/* A sandboxed state with the JIT off, whose `require` looks in HOME/lualib. NULL: out of memory. */
lua_State *command_create_state(const char *home, struct err *);
/* Sets the global `host`, with host.home. The engine must be in *host already. Borrows it. */
void command_open_host(lua_State *L, struct host *host);
/* Starts the command arguments[0] (n may be 0) with the words after it. `ended` is called once, from the
 * loop, with what the command returned. -1: err says why; nothing was started. */
int command_start(lua_State *L, struct engine *, int n, char *const *arguments,
                  void (*ended)(int exit_code, const struct task_end *, void *), void *arg, struct err *);
void command_close_state(lua_State *L);

#endif
