/* What Lua code may reach: allow-lists, never lists of what is forbidden.
 *
 * A sandboxed state opens only the libraries base, string, table, math and bit; io, os, debug, package,
 * coroutine, jit and ffi are not there for anybody. Two kinds of code live in it:
 * - trusted code (lualib) sees the state's globals: the allow-list, `host`, and a `require` that finds lualib
 * files and cjson;
 * - scripts see an environment of their own: copies of the same tables (what a script does to `string` stays
 * its own), without the parts of `host` that run the host itself, and without global variables: a name that
 * does not exist is an error, and so is an assignment to one. Their xpcall calls the handler after unwinding,
 * within the budget. */
#ifndef MOONRUNNER_LUA_SANDBOX_H
#define MOONRUNNER_LUA_SANDBOX_H

#include <lua.h>
#include <stdbool.h>

/* Makes a fresh state (no library opened) a sandboxed one. `lualib` is the folder that `require` looks in;
 * copied. Unprotected: call it where a memory error may end the program, or under lua_cpcall. */
void sandbox_open(lua_State *L, const char *lualib);

/* Pushes a new environment for scripts, copied from the state's globals and `host` as they are now. Its
 * `require` is the state's; a bundle sets its own. Works in a state with all libraries too (spec-host). */
void sandbox_push_environment(lua_State *L);

/* true: letters, digits and _, with single dots between: "queue.folder". What require accepts. */
bool sandbox_module_name(const char *name);

#endif
