/* What the doors (lua_*.c) need to know of the running program: one struct, reached from any Lua state.
 *
 * A door is `int luaopen_host_NAME(lua_State *L)`; it pushes one table, which lua_host.c puts at host.NAME.
 */
#ifndef MOONRUNNER_LUA_HOST_H
#define MOONRUNNER_LUA_HOST_H

#include <lua.h>
#include <uv.h>

struct engine;
struct worker_pool;
struct mailbox;
struct supervisor; /* process/ */
struct account;    /* account/ */
struct options;

struct host {
    uv_loop_t *loop;
    struct engine *engine;
    struct worker_pool *workers;
    struct mailbox *mailbox; /* read by the loop thread */
    struct supervisor *supervisor;
    struct account *account;
    const struct options *options;
    const char *home; /* the folder that holds lualib/, scripts/, policies/ */
};

/* Stores h (borrowed) in the registry of L. */
void host_set(lua_State *L, struct host *h);
/* Never NULL after host_set. */
struct host *host_get(lua_State *L);
/* Sets the global `host` with every door's table (lua_host.c lists them). */
void host_open(lua_State *L);

#endif
