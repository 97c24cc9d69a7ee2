/* One pending wait of a task: made by a binding, completed once, handed to the task in its next turn
 * (lua/request.h). */
#include "lua/request.h"

#include <lauxlib.h>

#include "base/fault.h"
#include "lua/host.h"
#include "lua/lua_err.h"
#include "lua/task_internal.h"

/* NULL and why: nothing can wait here. */
static struct task *task_that_may_wait(lua_State *L, const char **why)
{
    struct task *task = task_current(L);
    *why = task == NULL
               ? "waits only inside a task"
               : "cannot wait inside a callback (of string.gsub, table.sort, …) or while a file is loaded";
    return task != NULL && lua_isyieldable(L) ? task : NULL;
}

struct task *request_task(lua_State *L, const char *name)
{
    const char *why;
    struct task *task = task_that_may_wait(L, &why);
    if (task == NULL)
        luaL_error(L, "%s %s", name, why);
    return task;
}

void request_init(struct request *request, const struct request_type *type, struct task *owner)
{
    INVARIANT(4, owner->state == TASK_RUNNING);
    *request = (struct request){.type = type, .owner = owner, .cancel = type->cancel};
    owner->engine->counts.requests++;
}

int request_yield(lua_State *L, struct request *request)
{
    struct task *task = request->owner;
    INVARIANT(4, !request->complete && lua_isyieldable(L));
    INVARIANT(2, task->pending == NULL);
    INVARIANT(1, task->co == L && task->state == TASK_RUNNING);
    request->yielded = true;
    task->pending = request;
    return lua_yield(L, 0);
}

void request_abandon(struct request *request)
{
    INVARIANT(4, !request->yielded && !request->complete);
    request->owner->engine->counts.requests--;
}

/* A request that was cancelled and failed says why it was cancelled, not how the binding noticed. */
static void request_fail(struct request *request, const struct err *err)
{
    request->failed = true;
    if (!request->cancelled || !task_failing(request->owner, &request->err))
        request->err = *err;
}

void request_complete(struct request *request, const struct err *err)
{
    struct task *task = request->owner;
    INVARIANT(2, !request->complete);
    INVARIANT(4, request->yielded);
    INVARIANT(2, task->pending == request);
    request->complete = true;
    if (err != NULL)
        request_fail(request, err);
    if (task->state == TASK_WAITING)
        task->state = TASK_READY;
    task_make_ready(task);
}

void request_cancel(struct request *request)
{
    INVARIANT(5, !request->complete);
    if (request->cancelled)
        return;
    request->cancelled = true;
    if (request->cancel != NULL)
        request->cancel(request);
}

struct finish_call {
    struct request *request;
    lua_State *co;
    int nresults;
};

/* Runs protected. (call) -> nothing; the results are moved to the coroutine */
static int push_results(lua_State *L)
{
    struct finish_call *call = lua_touserdata(L, 1);
    struct request *request = call->request;
    lua_settop(L, 0);
    call->nresults = request->failed ? lua_err_return(L, &request->err) : request->type->push(L, request);
    lua_checkstack(call->co, call->nresults);
    lua_xmove(L, call->co, call->nresults);
    return 0;
}

int request_finish(struct task *task)
{
    struct request *request = task->pending;
    struct finish_call call = {.request = request, .co = task->co};
    task->pending = NULL;
    if (!task->doomed && lua_cpcall(task->engine->L, push_results, &call) != 0)
        engine_out_of_memory(request->type->name);
    task->engine->counts.requests--;
    request->type->release(request);
    return call.nresults;
}

/* --- work for the pool -------------------------------------------------------------------------------- */

static struct blocking *blocking_of(struct work *work)
{
    return (struct blocking *)((char *)work - offsetof(struct blocking, work));
}

static void blocking_run(struct work *work)
{
    struct blocking *blocking = blocking_of(work);
    blocking->status = blocking->run(blocking, &blocking->err);
}

static void blocking_done(struct work *work)
{
    struct blocking *blocking = blocking_of(work);
    request_complete(&blocking->request, blocking->status == 0 ? NULL : &blocking->err);
}

static void blocking_cancel(struct request *request)
{
    struct blocking *blocking = (struct blocking *)request;
    worker_cancel(&blocking->work);
    if (request->type->cancel != NULL)
        request->type->cancel(request);
}

int blocking_yield(lua_State *L, const struct request_type *type, struct blocking *blocking)
{
    struct err err;
    const char *why;
    struct task *task = task_that_may_wait(L, &why);
    if (task == NULL) {
        type->release(&blocking->request);
        return luaL_error(L, "%s %s", type->name, why);
    }
    if (task_failing(task, &err)) {
        type->release(&blocking->request);
        return lua_err_return(L, &err);
    }
    request_init(&blocking->request, type, task);
    blocking->request.cancel = blocking_cancel;
    blocking->work.run = blocking_run;
    blocking->work.done = blocking_done;
    blocking->work.cancelled = false;
    if (worker_submit(host_get(L)->workers, &blocking->work, &err) != 0) {
        request_abandon(&blocking->request);
        type->release(&blocking->request);
        return lua_err_return(L, &err);
    }
    return request_yield(L, &blocking->request);
}
