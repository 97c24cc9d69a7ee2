/* Door host.signal: TERM and INT as values that one task waits for.
 *
 * Until `catch` is called the signals keep their usual meaning; after it none is lost, also while nobody
 * waits. */
#include <lauxlib.h>
#include <signal.h>
#include <stdlib.h>
#include <uv.h>

#include "lua/doors.h"
#include "lua/host.h"
#include "lua/lua_err.h"
#include "lua/request.h"
#include "lua/task.h"

enum { PENDING_MAX = 16 };

struct catcher {
    uv_signal_t handles[2];
    int pending[PENDING_MAX];
    unsigned n_pending;
    struct wait *waiting;
};

struct wait {
    struct request request;
    struct catcher *catcher;
    int signal;
};

static const char catcher_key = 0;

static struct catcher *catcher_of(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)&catcher_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    struct catcher *catcher = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return catcher;
}

static const char *signal_name(int number)
{
    return number == SIGTERM ? "TERM" : "INT";
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct catcher *catcher = handle->data;
    struct wait *wait = catcher->waiting;
    if (wait != NULL) {
        catcher->waiting = NULL;
        wait->signal = number;
        request_complete(&wait->request, NULL);
    } else if (catcher->n_pending < PENDING_MAX) {
        catcher->pending[catcher->n_pending++] = number;
    }
}

/* host.signal.catch(): from now on TERM and INT are only values for receive. Once a program. */
static int signal_catch(lua_State *L)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    if (catcher_of(L) != NULL)
        return 0;
    lua_pushlightuserdata(L, (void *)&catcher_key);
    struct catcher *catcher = lua_newuserdata(L, sizeof *catcher);
    *catcher = (struct catcher){0};
    lua_rawset(L, LUA_REGISTRYINDEX);
    for (int i = 0; i < 2; i++) {
        uv_signal_init(host_get(L)->loop, &catcher->handles[i]);
        catcher->handles[i].data = catcher;
        uv_signal_start(&catcher->handles[i], on_signal, numbers[i]);
        uv_unref((uv_handle_t *)&catcher->handles[i]);
    }
    return 0;
}

static int wait_push(lua_State *L, struct request *request)
{
    lua_pushstring(L, signal_name(((struct wait *)request)->signal));
    return 1;
}

static void wait_cancel(struct request *request)
{
    struct err err;
    err_set(&err, ERR_TASK_CANCELLED, "signal.receive: cancelled");
    ((struct wait *)request)->catcher->waiting = NULL;
    request_complete(request, &err);
}

static void wait_release(struct request *request)
{
    free(request);
}

static const struct request_type wait_type = {"signal.receive", wait_push, wait_cancel, wait_release};

/* host.signal.receive() -> "TERM" | "INT". Waits; one task at a time. */
static int signal_receive(lua_State *L)
{
    struct err err;
    struct task *task = request_task(L, wait_type.name);
    struct catcher *catcher = catcher_of(L);
    if (catcher == NULL || catcher->waiting != NULL)
        return luaL_error(L, "signal.receive: call signal.catch first, and receive in one task only");
    if (task_failing(task, &err))
        return lua_err_return(L, &err);
    if (catcher->n_pending > 0) {
        lua_pushstring(L, signal_name(catcher->pending[0]));
        catcher->n_pending--;
        for (unsigned i = 0; i < catcher->n_pending; i++)
            catcher->pending[i] = catcher->pending[i + 1];
        return 1;
    }
    struct wait *wait = calloc(1, sizeof *wait);
    if (wait == NULL) {
        err_set(&err, ERR_NO_MEMORY, "signal.receive: out of memory");
        return lua_err_return(L, &err);
    }
    wait->catcher = catcher;
    request_init(&wait->request, &wait_type, task);
    catcher->waiting = wait;
    return request_yield(L, &wait->request);
}

int luaopen_host_signal(lua_State *L)
{
    static const luaL_Reg functions[] = {{"catch", signal_catch}, {"receive", signal_receive}, {NULL, NULL}};
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
