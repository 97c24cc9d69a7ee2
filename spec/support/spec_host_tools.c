/* The globals that only specs see (spec-host):
 *
 *     fault.arm(name, nth)   fault.reset()   fault.names() -> {name…}   fault.count(name) -> n base/fault.h
 *     set_environment(name, text or nil)                              a variable of this process
 *     engine_run{source = text, slice = ms?, sandbox = true?} -> {failed, code, message, traceback, results =
 * {text…}} runs a chunk as the only task of a state and a loop of its own, to its end cancel_at_each_yield(f,
 * after?) -> n runs f in a task of its own again and again, and cancels it when it (or a child) begins its
 * first wait, its second, … until it ends before that. Each time nothing may be left. after(k, results…)
 * looks at more. */
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "lua/host.h"
#include "lua/sandbox.h"
#include "lua/task.h"
#include "spec_host.h"

/* --- fault -------------------------------------------------------------------------------------------- */

static int tools_fault_arm(lua_State *L)
{
    fault_arm(luaL_checkstring(L, 1), (unsigned)luaL_checkinteger(L, 2));
    return 0;
}

static int tools_fault_reset(lua_State *L)
{
    (void)L;
    fault_reset();
    return 0;
}

static int tools_fault_names(lua_State *L)
{
    char *names = fault_names(), *rest = names, *name;
    int n = 0;
    lua_newtable(L);
    while (names != NULL && (name = strsep(&rest, " ")) != NULL)
        if (*name != '\0') {
            lua_pushstring(L, name);
            lua_rawseti(L, -2, ++n);
        }
    free(names);
    return 1;
}

static int tools_fault_count(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)fault_count(luaL_checkstring(L, 1)));
    return 1;
}

/* --- set_environment ------------------------------------------------------------------------------------ */

static int tools_set_environment(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1), *value = luaL_optstring(L, 2, NULL);
    if ((value != NULL ? setenv(name, value, 1) : unsetenv(name)) != 0)
        return luaL_error(L, "the variable %s can not be set", name);
    return 0;
}

/* --- engine_run --------------------------------------------------------------------------------------- */

struct engine_run {
    lua_State *outer; /* its table on top is filled */
    bool sandbox;     /* the chunk sees what a script sees */
    bool ended;
};

static void set_text(lua_State *L, const char *name, const char *text)
{
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

static void run_ended(struct task *task, lua_State *L, int nresults, const struct task_end *end, void *arg)
{
    struct engine_run *run = arg;
    lua_State *outer = run->outer;
    (void)task;
    run->ended = true;
    lua_pushboolean(outer, end->failed);
    lua_setfield(outer, -2, "failed");
    if (end->failed) {
        set_text(outer, "code", err_code_name(end->err.code));
        set_text(outer, "message", end->err.message);
        set_text(outer, "traceback", end->traceback);
    }
    lua_createtable(outer, nresults, 0);
    for (int i = 1; i <= nresults; i++) {
        lua_getglobal(L, "tostring");
        lua_pushvalue(L, i);
        lua_call(L, 1, 1);
        lua_pushstring(outer, lua_tostring(L, -1));
        lua_rawseti(outer, -2, i);
        lua_pop(L, 1);
    }
    lua_setfield(outer, -2, "results");
}

static void run_chunk(lua_State *inner, uv_loop_t *loop, struct host *host, const char *source,
                      struct engine_run *run)
{
    struct err err;
    if (luaL_loadbuffer(inner, source, strlen(source), "=chunk") != 0) {
        set_text(run->outer, "message", lua_tostring(inner, -1));
        return;
    }
    if (run->sandbox) {
        sandbox_push_environment(inner);
        lua_setfenv(inner, -2);
    }
    struct task *task = task_start(host->engine, inner, 0, &(struct task_options){.name = "chunk"}, &err);
    if (task == NULL) {
        set_text(run->outer, "message", err.message);
        return;
    }
    task_on_end(task, run_ended, run);
    while (!run->ended)
        uv_run(loop, UV_RUN_ONCE);
}

static int tools_engine_run(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "source");
    lua_getfield(L, 1, "slice");
    lua_getfield(L, 1, "sandbox");
    const char *source = luaL_checkstring(L, 2);
    struct engine_limits limits = {.slice_us = (uint64_t)luaL_optnumber(L, 3, 0) * 1000};
    struct host host = *host_get(L);
    bool sandbox = lua_toboolean(L, 4);
    struct engine_run run = {.outer = L, .sandbox = sandbox};
    struct err err;
    uv_loop_t loop;
    lua_newtable(L); /* stays on top until the end */
    uv_loop_init(&loop);
    lua_State *inner = luaL_newstate();
    char lualib[4096];
    snprintf(lualib, sizeof lualib, "%s/lualib", host.home);
    if (sandbox)
        sandbox_open(inner, lualib);
    else
        luaL_openlibs(inner);
    host.loop = &loop;
    host.engine = engine_create(inner, &loop, &limits, &err);
    host_set(inner, &host);
    host_open(inner);
    run_chunk(inner, &loop, &host, source, &run);
    engine_destroy(host.engine);
    lua_close(inner);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return 1;
}

/* --- cancel_at_each_yield ----------------------------------------------------------------------------- */

static struct {
    struct task *target;
    unsigned wait, wanted;
} cancelling;

static bool is_below(struct task *task, const struct task *ancestor)
{
    while (task != NULL && task != ancestor)
        task = task_parent(task);
    return task != NULL;
}

static void wait_begins(struct task *task, void *arg)
{
    struct err why;
    (void)arg;
    if (is_below(task, cancelling.target) && ++cancelling.wait == cancelling.wanted) {
        err_set(&why, ERR_TASK_CANCELLED, "cancelled at wait %u", cancelling.wanted);
        task_cancel(cancelling.target, &why);
    }
}

/* cancel_me_at(k): the running task is cancelled when it, or one below it, begins its kth wait */
static int tools_cancel_me_at(lua_State *L)
{
    cancelling.target = task_current(L);
    cancelling.wait = 0;
    cancelling.wanted = (unsigned)luaL_checkinteger(L, 1);
    engine_watch_waits(engine_of(L), wait_begins, NULL);
    return 0;
}

/* stop_cancelling() -> was the kth wait reached? */
static int tools_stop_cancelling(lua_State *L)
{
    engine_watch_waits(engine_of(L), NULL, NULL);
    lua_pushboolean(L, cancelling.wait >= cancelling.wanted);
    return 1;
}

/* what_is_there() -> tasks, requests, open files, children */
static int tools_what_is_there(lua_State *L)
{
    struct engine_counts counts = engine_count(engine_of(L));
    lua_gc(L, LUA_GCCOLLECT, 0);
    lua_gc(L, LUA_GCCOLLECT, 0);
    lua_pushnumber(L, (lua_Number)counts.tasks);
    lua_pushnumber(L, (lua_Number)counts.requests);
    lua_pushnumber(L, (lua_Number)spec_open_files());
    lua_pushnumber(L, (lua_Number)spec_children());
    return 4;
}

static const char cancelling_source[] =
    "local cancel_me_at, stop_cancelling, what_is_there = ...\n"
    "local function settled()\n"
    "  local until_ms = host.time.monotonic() + 30000\n"
    "  while select(4, what_is_there()) > 0 and host.time.monotonic() < until_ms do host.time.sleep(1) end\n"
    "  return table.concat({what_is_there()}, ' ')\n"
    "end\n"
    "local function run(k, f, after)\n"
    "  local before = settled()\n"
    "  local task = host.task.start(function() cancel_me_at(k) return f() end)\n"
    "  task:await_end()\n"
    "  local reached = stop_cancelling()\n"
    "  if after then after(k, task:join()) end\n"
    "  local left = settled()\n"
    "  if left ~= before then\n"
    "    error(('cancelled at wait %d: tasks, requests, files, children were %s and are %s'):format(k, "
    "before, left), 0)\n"
    "  end\n"
    "  return reached\n"
    "end\n"
    "return function(f, after)\n"
    "  local k = 1\n"
    "  while run(k, f, after) do k = k + 1 end\n"
    "  return k - 1\n"
    "end\n";

/* --- all of it ---------------------------------------------------------------------------------------- */

void spec_tools_open(lua_State *L)
{
    static const luaL_Reg fault[] = {{"arm", tools_fault_arm},
                                     {"reset", tools_fault_reset},
                                     {"names", tools_fault_names},
                                     {"count", tools_fault_count},
                                     {NULL, NULL}};
    luaL_register(L, "fault", fault);
    lua_pop(L, 1);
    lua_register(L, "set_environment", tools_set_environment);
    lua_register(L, "engine_run", tools_engine_run);
    if (luaL_loadbuffer(L, cancelling_source, sizeof cancelling_source - 1, "@spec-host") != 0)
        lua_error(L);
    lua_pushcfunction(L, tools_cancel_me_at);
    lua_pushcfunction(L, tools_stop_cancelling);
    lua_pushcfunction(L, tools_what_is_there);
    lua_call(L, 3, 1);
    lua_setglobal(L, "cancel_at_each_yield");
}
