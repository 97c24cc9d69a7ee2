/* The door host.task: children of the running task, its deadlines and shields, its log fields.
 *
 *     host.task.start(f, …) -> task            a child of the running task; only lualib/scope.lua calls it
 *     task:join() -> f's results | nil, err    waits
 *     task:await_end()                         waits whatever happens; for a task that has been cancelled
 *     task:announce(channel)                   the channel receives the task when it has ended
 *     task:cancel(err?)   task:done() -> boolean
 *
 * A task's results lie in the environment table of its userdata, from 1. */
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fault.h"
#include "lua/doors.h"
#include "lua/lua_channel.h"
#include "lua/lua_err.h"
#include "lua/lua_log.h"
#include "lua/request.h"
#include "lua/task.h"

#define HANDLE "moonrunner.task"

struct join {
    struct request request;
    struct join *next;
    struct handle *handle;
    lua_State *L;         /* the state's main thread */
    int handle_reference; /* keeps the results until they are pushed */
};

struct handle {
    struct task *task; /* NULL: ended */
    int reference;     /* the registry's anchor of this userdata while the task lives */
    int nresults;
    bool failed;
    struct join *joins;
};

static struct task *running_task(lua_State *L, const char *name)
{
    struct task *task = task_current(L);
    if (task == NULL)
        luaL_error(L, "%s works only inside a task", name);
    return task;
}

/* --- the end ------------------------------------------------------------------------------------------ */

/* (handle at index) -> what join returns. A failed task: nil, err with err.traceback */
static int push_results(lua_State *L, int index)
{
    struct handle *handle = lua_touserdata(L, index);
    luaL_checkstack(L, handle->nresults + 2, "task results");
    lua_getfenv(L, index);
    int results = lua_gettop(L);
    for (int i = 1; i <= handle->nresults; i++)
        lua_rawgeti(L, results, i);
    return handle->nresults;
}

/* (results…) -> nothing; the handle keeps them */
static void keep_results(lua_State *L, struct handle *handle, int nresults, const struct task_end *end)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, handle->reference);
    lua_getfenv(L, -1);
    for (int i = 1; i <= nresults; i++) {
        lua_pushvalue(L, i);
        lua_rawseti(L, -2, i);
    }
    handle->nresults = nresults;
    if (end->failed) {
        lua_err_push(L, &end->err);
        lua_pushstring(L, end->traceback);
        lua_setfield(L, -2, "traceback");
        lua_rawseti(L, -2, 2);
        handle->nresults = 2;
    }
    lua_pop(L, 2);
}

static void announce(lua_State *L, struct handle *handle)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, handle->reference);
    lua_getfenv(L, -1);
    lua_getfield(L, -1, "channel");
    if (!lua_isnil(L, -1)) {
        lua_pushvalue(L, -3);
        lua_channel_send(L, lua_gettop(L) - 1);
    }
    lua_pop(L, 3);
}

static void handle_ended(struct task *task, lua_State *L, int nresults, const struct task_end *end, void *arg)
{
    (void)task;
    struct handle *handle = arg;
    keep_results(L, handle, nresults, end);
    handle->task = NULL;
    announce(L, handle);
    while (handle->joins != NULL) {
        struct join *join = handle->joins;
        handle->joins = join->next;
        request_complete(&join->request, NULL);
    }
    luaL_unref(L, LUA_REGISTRYINDEX, handle->reference);
}

/* --- joining ------------------------------------------------------------------------------------------ */

static int join_push(lua_State *L, struct request *request)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, ((struct join *)request)->handle_reference);
    return push_results(L, 1);
}

static void join_cancel(struct request *request)
{
    struct join *join = (struct join *)request, **link = &join->handle->joins;
    struct err err;
    while (*link != join)
        link = &(*link)->next;
    *link = join->next;
    err_set(&err, ERR_TASK_CANCELLED, "cancelled");
    request_complete(request, &err);
}

static void join_release(struct request *request)
{
    struct join *join = (struct join *)request;
    luaL_unref(join->L, LUA_REGISTRYINDEX, join->handle_reference);
    free(join);
}

static int nothing_push(lua_State *L, struct request *request)
{
    (void)L;
    (void)request;
    return 0;
}

static const struct request_type join_type = {
    .name = "task:join", .push = join_push, .cancel = join_cancel, .release = join_release};
static const struct request_type await_end_type = {
    .name = "task:await_end", .push = nothing_push, .release = join_release};

/* (handle) -> (yields) */
static int join_wait(lua_State *L, struct task *task, struct handle *handle, const struct request_type *type)
{
    struct join *join = calloc(1, sizeof *join), **link = &handle->joins;
    if (join == NULL)
        return luaL_error(L, "out of memory while a task was joined");
    lua_pushvalue(L, 1);
    join->handle_reference = luaL_ref(L, LUA_REGISTRYINDEX);
    join->handle = handle;
    join->L = engine_state(engine_of(L));
    request_init(&join->request, type, task);
    while (*link != NULL)
        link = &(*link)->next;
    *link = join;
    return request_yield(L, &join->request);
}

static int task_join(lua_State *L)
{
    struct handle *handle = luaL_checkudata(L, 1, HANDLE);
    struct task *task = request_task(L, join_type.name);
    struct err err;
    if (handle->task == NULL)
        return push_results(L, 1);
    luaL_argcheck(L, handle->task != task, 1, "a task cannot join itself");
    if (task_failing(task, &err))
        return lua_err_return(L, &err);
    return join_wait(L, task, handle, &join_type);
}

static int task_await_end(lua_State *L)
{
    struct handle *handle = luaL_checkudata(L, 1, HANDLE);
    struct task *task = request_task(L, await_end_type.name);
    if (handle->task == NULL)
        return 0;
    luaL_argcheck(L, handle->task != task, 1, "a task cannot await its own end");
    return join_wait(L, task, handle, &await_end_type);
}

/* --- starting and ending ------------------------------------------------------------------------------ */

/* (function at 1) -> its place, as the task's name */
static void name_of_function(lua_State *L, char *out, size_t size)
{
    lua_Debug debug;
    lua_pushvalue(L, 1);
    lua_getinfo(L, ">S", &debug);
    snprintf(out, size, "%s:%d", debug.short_src, debug.linedefined);
}

static int task_start_child(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    struct task *parent = running_task(L, "host.task.start");
    char name[96];
    struct err err;
    name_of_function(L, name, sizeof name);
    struct handle *handle = lua_newuserdata(L, sizeof *handle);
    *handle = (struct handle){.reference = LUA_NOREF};
    lua_newtable(L);
    lua_setfenv(L, -2);
    luaL_getmetatable(L, HANDLE);
    lua_setmetatable(L, -2);
    lua_insert(L, 1); /* handle, f, … */
    struct task_options options = {.parent = parent, .name = name};
    handle->task = task_start(engine_of(L), L, lua_gettop(L) - 2, &options, &err);
    if (handle->task == NULL)
        return lua_err_return(L, &err);
    lua_pushvalue(L, 1);
    handle->reference = luaL_ref(L, LUA_REGISTRYINDEX);
    task_on_end(handle->task, handle_ended, handle);
    return 1;
}

static int task_announce(lua_State *L)
{
    struct handle *handle = luaL_checkudata(L, 1, HANDLE);
    lua_settop(L, 2);
    if (handle->task == NULL) {
        lua_pushvalue(L, 1);
        lua_channel_send(L, 2);
        return 0;
    }
    lua_getfenv(L, 1);
    lua_insert(L, 2);
    lua_setfield(L, 2, "channel");
    return 0;
}

static int task_cancel_handle(lua_State *L)
{
    struct handle *handle = luaL_checkudata(L, 1, HANDLE);
    struct err why;
    err_set(&why, ERR_TASK_CANCELLED, "cancelled");
    if (!lua_isnoneornil(L, 2)) {
        lua_err_read(L, 2, ERR_TASK_CANCELLED, &why);
        if (why.code != ERR_TASK_CANCELLED && why.code != ERR_TASK_DEADLINE) {
            struct err reason =
                why; /* callers branch on the code: it must not look like a failure of their own */
            err_set(&why, ERR_TASK_CANCELLED, "cancelled: %s: %s", err_code_name(reason.code),
                    reason.message);
        }
    }
    if (handle->task != NULL)
        task_cancel(handle->task, &why);
    return 0;
}

static int task_done(lua_State *L)
{
    struct handle *handle = luaL_checkudata(L, 1, HANDLE);
    lua_pushboolean(L, handle->task == NULL);
    return 1;
}

/* --- the running task --------------------------------------------------------------------------------- */

static int task_check(lua_State *L)
{
    struct err err;
    struct task *task = task_current(L);
    if (task != NULL && task_failing(task, &err))
        return lua_err_return(L, &err);
    lua_pushboolean(L, 1);
    return 1;
}

static int task_add_fields(lua_State *L)
{
    struct log_field fields[LUA_LOG_MAX_FIELDS];
    struct task *task = running_task(L, "host.task.set_fields");
    luaL_checktype(L, 1, LUA_TTABLE);
    task_set_fields(task, fields, lua_log_fields(L, 1, fields));
    return 0;
}

static uint64_t check_until(lua_State *L, int index)
{
    lua_Number ms = luaL_checknumber(L, index);
    luaL_argcheck(L, ms >= 0 && ms < 1e15, index, "milliseconds from 0");
    return clock_monotonic_ms() + (uint64_t)ms;
}

/* (ms) -> the deadline before, as a number */
static int enter_deadline(lua_State *L)
{
    uint64_t previous = task_set_deadline(running_task(L, "host.task.deadline"), check_until(L, 1));
    lua_pushnumber(L, previous == UINT64_MAX ? HUGE_VAL : (lua_Number)previous);
    return 1;
}

/* (the deadline before) */
static int leave_deadline(lua_State *L)
{
    lua_Number previous = luaL_checknumber(L, 1);
    task_restore_deadline(task_current(L), previous == HUGE_VAL ? UINT64_MAX : (uint64_t)previous);
    return 0;
}

static int enter_shield(lua_State *L)
{
    task_shield_enter(running_task(L, "host.task.shield"), check_until(L, 1));
    return 0;
}

static int leave_shield(lua_State *L)
{
    task_shield_leave(task_current(L));
    return 0;
}

/* A message handler: keeps the traceback, and the error as it is. */
static int note_error(lua_State *L)
{
    task_note_error(L, 1);
    lua_settop(L, 1);
    return 1;
}

/* What calls a function that may wait has to be Lua: nothing yields across a C frame. */
static const char around_source[] =
    "local enter_deadline, leave_deadline, enter_shield, leave_shield, note_error, xpcall, error = ...\n"
    "local function leave(leave_it, state, ok, ...)\n"
    "  leave_it(state)\n"
    "  if not ok then error((...), 0) end\n"
    "  return ...\n"
    "end\n"
    "local function deadline(ms, f, ...)\n"
    "  return leave(leave_deadline, enter_deadline(ms), xpcall(f, note_error, ...))\n"
    "end\n"
    "local function shield(ms, f, ...)\n"
    "  return leave(leave_shield, enter_shield(ms), xpcall(f, note_error, ...))\n"
    "end\n"
    "return deadline, shield\n";

/* (module) -> (module) with deadline and shield */
static void add_around(lua_State *L)
{
    static const lua_CFunction parts[] = {enter_deadline, leave_deadline, enter_shield, leave_shield,
                                          note_error};
    if (luaL_loadbufferx(L, around_source, sizeof around_source - 1, "=host.task", "t") != 0)
        lua_error(L);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        lua_pushcfunction(L, parts[i]);
    lua_getglobal(L, "xpcall");
    lua_getglobal(L, "error");
    lua_call(L, 7, 2);
    lua_setfield(L, -3, "shield");
    lua_setfield(L, -2, "deadline");
}

int luaopen_host_task(lua_State *L)
{
    static const luaL_Reg functions[] = {{"start", task_start_child},
                                         {"check", task_check},
                                         {"set_fields", task_add_fields},
                                         {"channel", lua_channel_new},
                                         {NULL, NULL}};
    static const luaL_Reg methods[] = {{"join", task_join},         {"await_end", task_await_end},
                                       {"announce", task_announce}, {"cancel", task_cancel_handle},
                                       {"done", task_done},         {NULL, NULL}};
    if (luaL_newmetatable(L, HANDLE)) {
        lua_newtable(L);
        luaL_register(L, NULL, methods);
        lua_setfield(L, -2, "__index");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_pop(L, 1);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    add_around(L);
    return 1;
}
