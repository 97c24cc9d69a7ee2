/* host.scheduler: the decision core (lualib/scheduler.lua) and the policies, in a Lua state of their own.
 *
 * Events and effects cross as plain copies; each one becomes a line of the trace on the way. Loop thread. */
#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <string.h>

#include "base/buffer.h"
#include "lua/copy.h"
#include "lua/core_state.h"
#include "lua/doors.h"
#include "lua/lua_err.h"

static const char SCHEDULER[] = "moonrunner.scheduler";

struct scheduler {
    lua_State *core;                     /* NULL: closed */
    bool failed;                         /* the trusted part raised: its state is not to be used any more */
    struct buffer event, effects, notes; /* read forms */
    struct buffer lines;                 /* since the last lines(), each with its newline */
};

static struct scheduler *check_scheduler(lua_State *L)
{
    struct scheduler *scheduler = luaL_checkudata(L, 1, SCHEDULER);

    if (scheduler->core == NULL)
        luaL_error(L, "the scheduler is closed");
    return scheduler;
}

static const char *path_field(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    if (lua_type(L, -1) != LUA_TSTRING)
        luaL_error(L, "host.scheduler.open: %s is the path of a folder", name);
    return lua_tostring(L, -1); /* stays on the stack, and in the caller's table */
}

/* open{lualib, policies, shipped} -> scheduler | nil, err */
static int open_scheduler(lua_State *L)
{
    struct core_paths paths;
    struct err err;

    luaL_checktype(L, 1, LUA_TTABLE);
    paths.lualib = path_field(L, "lualib");
    paths.policies = path_field(L, "policies");
    paths.shipped = path_field(L, "shipped");
    struct scheduler *scheduler = lua_newuserdata(L, sizeof *scheduler);
    memset(scheduler, 0, sizeof *scheduler);
    luaL_getmetatable(L, SCHEDULER);
    lua_setmetatable(L, -2);
    scheduler->core = core_state_open(&paths, &err);
    return scheduler->core ? 1 : lua_err_return(L, &err);
}

/* ---- stepping ---- */

static int add_line(struct scheduler *scheduler, const struct buffer *value, struct err *err)
{
    size_t size = scheduler->lines.size;

    if (copy_text(value, &scheduler->lines, err) == 0 && buffer_add(&scheduler->lines, "\n", 1) == 0)
        return 0;
    /* No half line. */
    scheduler->lines.size = size;
    if (scheduler->lines.data != NULL)
        scheduler->lines.data[size] = '\0';
    return err_set(err, ERR_NO_MEMORY, "the trace: out of memory");
}

/* A call into the core and what became of it. */
struct call {
    struct scheduler *scheduler;
    struct err err;
    bool failed; /* err is set */
};

/* (list) -> (list): a line for each item, and the whole list into `out` */
static void take_list(lua_State *core, struct call *call, struct buffer *out)
{
    for (size_t i = 1; i <= lua_objlen(core, -1) && !call->failed; i++) {
        lua_rawgeti(core, -1, (int)i);
        call->failed =
            copy_read(core, -1, &COPY_LIMITS, out, &call->err) || add_line(call->scheduler, out, &call->err);
        lua_pop(core, 1);
    }
    call->failed = call->failed || copy_read(core, -1, &COPY_LIMITS, out, &call->err);
}

/* lua_cpcall: scheduler->event in, effects and notes out. */
static int run_step(lua_State *core)
{
    struct call *call = lua_touserdata(core, 1);

    core_state_push_method(core, "step");
    copy_push(core, &call->scheduler->event);
    lua_call(core, 2, 2);
    take_list(core, call, &call->scheduler->notes);
    lua_pop(core, 1);
    if (!call->failed)
        take_list(core, call, &call->scheduler->effects);
    return 0;
}

/* lua_cpcall: the exported state into scheduler->effects. */
static int run_export(lua_State *core)
{
    struct call *call = lua_touserdata(core, 1);

    core_state_push_method(core, "export");
    lua_call(core, 1, 1);
    call->failed = copy_read(core, -1, &COPY_LIMITS, &call->scheduler->effects, &call->err) != 0;
    return 0;
}

/* Runs one of the two. -1: err; the core is not to be used any more. */
static int run(struct scheduler *scheduler, lua_CFunction function, struct err *err)
{
    struct call call = {.scheduler = scheduler};

    if (scheduler->failed)
        return err_set(err, ERR_INTERNAL, "the decision core has failed before: open another one");
    if (lua_cpcall(scheduler->core, function, &call) != 0) {
        core_state_take_error(scheduler->core, ERR_INTERNAL, &call.err);
        call.failed = true;
    }
    scheduler->failed = call.failed;
    if (call.failed)
        *err = call.err;
    return call.failed ? -1 : 0;
}

/* scheduler:step(event) -> effects, notes | nil, err */
static int step(lua_State *L)
{
    struct scheduler *scheduler = check_scheduler(L);
    struct err err;

    luaL_checktype(L, 2, LUA_TTABLE);
    if (copy_read(L, 2, &COPY_LIMITS, &scheduler->event, &err)) {
        if (err.code == ERR_INTERNAL)
            return luaL_error(L, "scheduler:step: %s", err.message);
        return lua_err_return(L, &err);
    }
    if (add_line(scheduler, &scheduler->event, &err) || run(scheduler, run_step, &err))
        return lua_err_return(L, &err);
    copy_push(L, &scheduler->effects);
    copy_push(L, &scheduler->notes);
    return 2;
}

/* scheduler:export() -> state | nil, err */
static int export_state(lua_State *L)
{
    struct scheduler *scheduler = check_scheduler(L);
    struct err err;

    if (run(scheduler, run_export, &err))
        return lua_err_return(L, &err);
    copy_push(L, &scheduler->effects);
    return 1;
}

/* scheduler:lines() -> {line…} */
static int take_lines(lua_State *L)
{
    struct scheduler *scheduler = check_scheduler(L);
    const char *at = scheduler->lines.data, *end = at ? at + scheduler->lines.size : NULL;
    int n = 0;

    lua_newtable(L);
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        lua_pushlstring(L, at, (size_t)(newline - at));
        lua_rawseti(L, -2, ++n);
        at = newline + 1;
    }
    buffer_clear(&scheduler->lines);
    return 1;
}

/* scheduler:close(), and the collector: idempotent */
static int close_scheduler(lua_State *L)
{
    struct scheduler *scheduler = luaL_checkudata(L, 1, SCHEDULER);

    if (scheduler->core != NULL)
        lua_close(scheduler->core);
    scheduler->core = NULL;
    buffer_free(&scheduler->event);
    buffer_free(&scheduler->effects);
    buffer_free(&scheduler->notes);
    buffer_free(&scheduler->lines);
    return 0;
}

int luaopen_host_scheduler(lua_State *L)
{
    static const luaL_Reg methods[] = {{"step", step},
                                       {"export", export_state},
                                       {"lines", take_lines},
                                       {"close", close_scheduler},
                                       {"__gc", close_scheduler},
                                       {NULL, NULL}};
    static const luaL_Reg functions[] = {{"open", open_scheduler}, {NULL, NULL}};

    luaL_newmetatable(L, SCHEDULER);
    luaL_register(L, NULL, methods);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
