/* host.task.channel() -> channel: an unbounded queue of values between tasks.
 *
 *     channel:send(value)                                 never waits; nil cannot be sent
 *     channel:receive(timeout_ms?) -> value | nil, err    waits; task.deadline when nothing came in time
 *
 * Values lie in the userdata's environment table, numbered from `first`. A value that is sent while somebody
 * waits belongs to the one who has waited longest from that moment on: nobody else can take it before he
 * runs. */
#include "lua/lua_channel.h"

#include <lauxlib.h>
#include <stdlib.h>

#include "base/fault.h"
#include "lua/host.h"
#include "lua/lua_err.h"
#include "lua/request.h"
#include "lua/task.h"

#define CHANNEL "moonrunner.channel"

struct receive {
    struct request request;
    struct receive *next, *previous;
    struct channel *channel;
    lua_State *L;          /* the state's main thread */
    int channel_reference; /* keeps the channel while somebody waits */
    int value_reference;   /* what has been sent, or LUA_NOREF */
    uv_timer_t timer;
    bool has_timer;
    int timeout_ms;
};

struct channel {
    int first, count;
    struct receive *waiting, *last_waiting;
};

static void waiting_remove(struct receive *receive)
{
    struct channel *channel = receive->channel;
    *(receive->previous != NULL ? &receive->previous->next : &channel->waiting) = receive->next;
    *(receive->next != NULL ? &receive->next->previous : &channel->last_waiting) = receive->previous;
}

static void waiting_add(struct receive *receive)
{
    struct channel *channel = receive->channel;
    receive->previous = channel->last_waiting;
    *(receive->previous != NULL ? &receive->previous->next : &channel->waiting) = receive;
    channel->last_waiting = receive;
}

static void receive_end(struct receive *receive, const struct err *err)
{
    waiting_remove(receive);
    if (receive->has_timer)
        uv_timer_stop(&receive->timer);
    request_complete(&receive->request, err);
}

static void receive_cancel(struct request *request)
{
    struct err err;
    err_set(&err, ERR_TASK_CANCELLED, "cancelled");
    receive_end((struct receive *)request, &err);
}

static void receive_timeout(uv_timer_t *timer)
{
    struct receive *receive = timer->data;
    struct err err;
    err_set(&err, ERR_TASK_DEADLINE, "nothing was received within %d ms", receive->timeout_ms);
    receive_end(receive, &err);
}

static int receive_push(lua_State *L, struct request *request)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, ((struct receive *)request)->value_reference);
    return 1;
}

static void receive_closed(uv_handle_t *timer)
{
    free(timer->data);
}

static void receive_release(struct request *request)
{
    struct receive *receive = (struct receive *)request;
    luaL_unref(receive->L, LUA_REGISTRYINDEX, receive->value_reference);
    luaL_unref(receive->L, LUA_REGISTRYINDEX, receive->channel_reference);
    if (receive->has_timer)
        uv_close((uv_handle_t *)&receive->timer, receive_closed);
    else
        free(receive);
}

static const struct request_type receive_type = {
    .name = "channel:receive", .push = receive_push, .cancel = receive_cancel, .release = receive_release};

/* (channel, timeout?) -> (yields) value | nil, err */
static int receive_wait(lua_State *L, struct task *task, struct channel *channel)
{
    struct receive *receive = FAULT("channel.receive") ? NULL : calloc(1, sizeof *receive);
    if (receive == NULL) {
        struct err err;
        err_set(&err, ERR_NO_MEMORY, "out of memory while a task waited for a channel");
        return lua_err_return(L, &err);
    }
    lua_pushvalue(L, 1);
    receive->channel_reference = luaL_ref(L, LUA_REGISTRYINDEX);
    receive->value_reference = LUA_NOREF;
    receive->channel = channel;
    receive->L = engine_state(engine_of(L));
    request_init(&receive->request, &receive_type, task);
    waiting_add(receive);
    if (!lua_isnoneornil(L, 2)) {
        uv_loop_t *loop = host_get(L)->loop;
        receive->has_timer = true;
        receive->timeout_ms = lua_tointeger(L, 2);
        receive->timer.data = receive;
        uv_timer_init(loop, &receive->timer);
        uv_update_time(loop);
        uv_timer_start(&receive->timer, receive_timeout, (uint64_t)receive->timeout_ms, 0);
    }
    return request_yield(L, &receive->request);
}

static int channel_receive(lua_State *L)
{
    struct channel *channel = luaL_checkudata(L, 1, CHANNEL);
    luaL_argcheck(L, luaL_optint(L, 2, 0) >= 0, 2, "milliseconds from 0");
    struct task *task = request_task(L, receive_type.name);
    struct err err;
    if (task_failing(task, &err))
        return lua_err_return(L, &err);
    if (channel->count == 0)
        return receive_wait(L, task, channel);
    lua_getfenv(L, 1);
    lua_rawgeti(L, -1, channel->first);
    lua_pushnil(L);
    lua_rawseti(L, -3, channel->first);
    channel->first++;
    channel->count--;
    return 1;
}

void lua_channel_send(lua_State *L, int index)
{
    struct channel *channel = luaL_checkudata(L, index, CHANNEL);
    struct receive *receive = channel->waiting;
    if (receive != NULL) {
        receive->value_reference = luaL_ref(L, LUA_REGISTRYINDEX);
        receive_end(receive, NULL);
        return;
    }
    lua_getfenv(L, index);
    lua_insert(L, -2);
    lua_rawseti(L, -2, channel->first + channel->count);
    channel->count++;
    lua_pop(L, 1);
}

static int channel_send(lua_State *L)
{
    luaL_argcheck(L, !lua_isnoneornil(L, 2), 2, "nil cannot be sent");
    lua_settop(L, 2);
    lua_channel_send(L, 1);
    return 0;
}

int lua_channel_new(lua_State *L)
{
    struct channel *channel = lua_newuserdata(L, sizeof *channel);
    *channel = (struct channel){.first = 1};
    lua_newtable(L);
    lua_setfenv(L, -2);
    if (luaL_newmetatable(L, CHANNEL)) {
        static const luaL_Reg methods[] = {
            {"send", channel_send}, {"receive", channel_receive}, {NULL, NULL}};
        lua_newtable(L);
        luaL_register(L, NULL, methods);
        lua_setfield(L, -2, "__index");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_setmetatable(L, -2);
    return 1;
}
