/* The door host.time: the clocks, and the one wait that is nothing but time.
 *
 *     host.time.monotonic() -> ms      host.time.wall() -> ms since 1970      host.time.sleep(ms) -> true */
#include <lauxlib.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fault.h"
#include "lua/doors.h"
#include "lua/host.h"
#include "lua/lua_err.h"
#include "lua/request.h"
#include "lua/task.h"

struct sleep {
    struct request request;
    uv_timer_t timer;
    uint64_t until;
};

static int time_monotonic(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)clock_monotonic_ms());
    return 1;
}

static int time_wall(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)clock_wall_ms());
    return 1;
}

static void sleep_over(uv_timer_t *timer)
{
    struct sleep *sleep = timer->data;
    uint64_t now = clock_monotonic_ms();
    if (now < sleep->until) /* the loop's clock may be coarser than ours */
        uv_timer_start(timer, sleep_over, sleep->until - now, 0);
    else
        request_complete(&sleep->request, NULL);
}

static void sleep_cancel(struct request *request)
{
    struct sleep *sleep = (struct sleep *)request;
    struct err err;
    uv_timer_stop(&sleep->timer);
    err_set(&err, ERR_TASK_CANCELLED, "cancelled");
    request_complete(request, &err);
}

static int sleep_push(lua_State *L, struct request *request)
{
    (void)request;
    lua_pushboolean(L, 1);
    return 1;
}

static void sleep_closed(uv_handle_t *timer)
{
    free(timer->data);
}

static void sleep_release(struct request *request)
{
    uv_close((uv_handle_t *)&((struct sleep *)request)->timer, sleep_closed);
}

static const struct request_type sleep_type = {
    .name = "host.time.sleep", .push = sleep_push, .cancel = sleep_cancel, .release = sleep_release};

static int time_sleep(lua_State *L)
{
    lua_Number ms = luaL_checknumber(L, 1);
    luaL_argcheck(L, ms >= 0 && ms < 1e15, 1, "milliseconds from 0");
    struct task *task = request_task(L, sleep_type.name);
    struct err err;
    if (task_failing(task, &err))
        return lua_err_return(L, &err);
    uv_loop_t *loop = host_get(L)->loop;
    struct sleep *sleep = FAULT("time.sleep") ? NULL : calloc(1, sizeof *sleep);
    if (sleep == NULL) {
        err_set(&err, ERR_NO_MEMORY, "out of memory while a task went to sleep");
        return lua_err_return(L, &err);
    }
    request_init(&sleep->request, &sleep_type, task);
    sleep->until = clock_monotonic_ms() + (uint64_t)ms;
    sleep->timer.data = sleep;
    uv_timer_init(loop, &sleep->timer);
    uv_update_time(loop); /* the loop's idea of now is as old as its turn */
    uv_timer_start(&sleep->timer, sleep_over, (uint64_t)ms, 0);
    return request_yield(L, &sleep->request);
}

int luaopen_host_time(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"monotonic", time_monotonic}, {"wall", time_wall}, {"sleep", time_sleep}, {NULL, NULL}};
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
