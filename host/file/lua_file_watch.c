/* dir:watch() and watch:wait(): inotify as a request with a time-out. */
#include <fcntl.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "base/fault.h"
#include "file/lua_file.h"
#include "file/watch.h"
#include "lua/host.h"
#include "lua/lua_err.h"
#include "lua/request.h"
#include "lua/task.h"

#define WATCH_TYPE "host.file.watch"

static int check_watch(lua_State *L)
{
    int fd = *(int *)luaL_checkudata(L, 1, WATCH_TYPE);
    luaL_argcheck(L, fd != -1, 1, "this watch is closed");
    return fd;
}

int lua_file_watch(lua_State *L)
{
    struct dir *dir = lua_file_dir(L, 1);
    struct err err;
    int *fd = lua_newuserdata(L, sizeof *fd);
    *fd = -1;
    luaL_getmetatable(L, WATCH_TYPE);
    lua_setmetatable(L, -2);
    *fd = watch_open(&err);
    if (*fd != -1 && watch_add(*fd, dir, &err) == 0)
        return 1;
    if (*fd != -1)
        close(*fd);
    *fd = -1;
    return lua_err_return(L, &err);
}

static int l_add(lua_State *L)
{
    int fd = check_watch(L);
    struct err err;
    return lua_file_answer(L, watch_add(fd, lua_file_dir(L, 2), &err), &err);
}

/* Also the collector's. A wait that goes on has a descriptor of its own. */
static int l_close(lua_State *L)
{
    int *fd = luaL_checkudata(L, 1, WATCH_TYPE);
    if (*fd != -1)
        close(*fd);
    *fd = -1;
    return 0;
}

/* --- waiting --------------------------------------------------------------------------------- */

struct wait {
    struct request request;
    uv_poll_t poll;
    uv_timer_t timer;
    int fd; /* a duplicate: the watch may be closed meanwhile */
    int handles;
    bool changed;
};

static void wait_over(struct wait *wait, const struct err *err)
{
    uv_poll_stop(&wait->poll);
    uv_timer_stop(&wait->timer);
    request_complete(&wait->request, err);
}

static void wait_ready(uv_poll_t *poll, int status, int events)
{
    (void)status; /* an error is a reason to look, too */
    (void)events;
    struct wait *wait = poll->data;
    watch_take(wait->fd);
    wait->changed = true;
    wait_over(wait, NULL);
}

static void wait_timed_out(uv_timer_t *timer)
{
    wait_over(timer->data, NULL);
}

static int wait_push(lua_State *L, struct request *request)
{
    lua_pushboolean(L, ((struct wait *)request)->changed);
    return 1;
}

static void wait_cancel(struct request *request)
{
    struct err err;
    err_set(&err, ERR_TASK_CANCELLED, "cancelled");
    wait_over((struct wait *)request, &err);
}

static void wait_closed(uv_handle_t *handle)
{
    struct wait *wait = handle->data;
    if (--wait->handles > 0)
        return;
    close(wait->fd);
    free(wait);
}

static void wait_release(struct request *request)
{
    struct wait *wait = (struct wait *)request;
    uv_close((uv_handle_t *)&wait->poll, wait_closed);
    uv_close((uv_handle_t *)&wait->timer, wait_closed);
}

static const struct request_type wait_type = {
    .name = "watch:wait", .push = wait_push, .cancel = wait_cancel, .release = wait_release};

/* NULL: nothing was left behind. */
static struct wait *wait_create(uv_loop_t *loop, int watch_fd, struct err *err)
{
    struct wait *wait = FAULT("file.memory") ? NULL : calloc(1, sizeof *wait);
    if (!wait) {
        err_set(err, ERR_NO_MEMORY, "no memory for watch:wait");
        return NULL;
    }
    wait->handles = 2;
    wait->fd = FAULT("file.watch") ? -1 : fcntl(watch_fd, F_DUPFD_CLOEXEC, 0);
    int status = wait->fd == -1 ? UV_EMFILE : uv_poll_init(loop, &wait->poll, wait->fd);
    if (status != 0) {
        err_set(err, ERR_FILE_IO, "watch:wait: %s", uv_strerror(status));
        if (wait->fd != -1)
            close(wait->fd);
        free(wait);
        return NULL;
    }
    uv_timer_init(loop, &wait->timer);
    wait->poll.data = wait->timer.data = wait;
    return wait;
}

static int l_wait(lua_State *L)
{
    int fd = check_watch(L);
    lua_Number ms = luaL_checknumber(L, 2);
    luaL_argcheck(L, ms >= 0 && ms < 1e15, 2, "milliseconds from 0");
    struct task *task = request_task(L, wait_type.name);
    struct err err;
    if (task_failing(task, &err))
        return lua_err_return(L, &err);
    bool changed = watch_take(fd);
    if (changed || ms == 0) {
        lua_pushboolean(L, changed);
        return 1;
    }
    uv_loop_t *loop = host_get(L)->loop;
    struct wait *wait = wait_create(loop, fd, &err);
    if (!wait)
        return lua_err_return(L, &err);
    request_init(&wait->request, &wait_type, task);
    uv_update_time(loop); /* the loop's idea of now is as old as its turn */
    uv_timer_start(&wait->timer, wait_timed_out, (uint64_t)ms, 0);
    uv_poll_start(&wait->poll, UV_READABLE, wait_ready);
    return request_yield(L, &wait->request);
}

void lua_file_watch_types(lua_State *L)
{
    static const luaL_Reg methods[] = {{"add", l_add}, {"wait", l_wait}, {"close", l_close}, {NULL, NULL}};
    lua_file_type(L, WATCH_TYPE, methods, l_close);
}
