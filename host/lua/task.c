/* The engine: tasks are coroutines, each waits on at most one request, and only this file resumes them.
 *
 *      task_start            request_yield             request_complete
 *          |                      |                          |
 *          v        resume        v                          v
 *   [ready queue] ----------> (running) -----> waiting -----> [ready queue]
 *          ^                      |
 *          |   children ended     v
 *   (report, freed) <--------- ending
 *
 * The ready queue is drained once a turn of the loop, first come first served, and only as far as it was
 * filled when the turn began. The nine invariants that hold here are stated in task.h; INVARIANT(n, …) checks
 * number n. */
#include "lua/task.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "lua/lua_err.h"
#include "lua/task_internal.h"

static char engine_key; /* its address is the registry's key for the state's engine */

void invariant_broken(int number, const char *condition, const char *file, int line)
{
    fprintf(stderr, "moonrunner: %s:%d: invariant %d is broken: %s\n", file, line, number, condition);
    abort();
}

void engine_out_of_memory(const char *doing)
{
    fprintf(stderr, "moonrunner: out of memory while %s\n", doing);
    abort();
}

/* --- the ready queue ---------------------------------------------------------------------------------- */

static void task_resume(struct task *);
static void task_report(struct task *);

static void engine_turn(uv_idle_t *handle)
{
    struct engine *engine = handle->data;
    for (size_t left = engine->counts.ready; left > 0; left--) {
        struct task *task = engine->ready;
        engine->ready = task->next_ready;
        if (engine->ready == NULL)
            engine->last_ready = &engine->ready;
        engine->counts.ready--;
        if (task->state == TASK_ENDING)
            task_report(task);
        else
            task_resume(task);
    }
    if (engine->counts.ready == 0)
        uv_idle_stop(&engine->turn);
}

void task_make_ready(struct task *task)
{
    struct engine *engine = task->engine;
    task->next_ready = NULL;
    *engine->last_ready = task;
    engine->last_ready = &task->next_ready;
    if (engine->counts.ready++ == 0)
        uv_idle_start(&engine->turn, engine_turn);
}

/* --- the engine --------------------------------------------------------------------------------------- */

struct engine *engine_create(lua_State *L, uv_loop_t *loop, const struct engine_limits *limits,
                             struct err *err)
{
    struct engine *engine = FAULT("engine.create") ? NULL : calloc(1, sizeof *engine);
    if (engine == NULL) {
        err_set(err, ERR_NO_MEMORY, "out of memory while the task engine was set up");
        return NULL;
    }
    if (budget_init(&engine->budget, L, limits->slice_us, err) != 0) {
        free(engine);
        return NULL;
    }
    engine->L = L;
    engine->loop = loop;
    engine->last_ready = &engine->ready;
    engine->armed_at = UINT64_MAX;
    engine->open_handles = 2;
    uv_idle_init(loop, &engine->turn);
    engine->turn.data = engine;
    task_deadline_init(engine);
    lua_pushlightuserdata(L, &engine_key);
    lua_pushlightuserdata(L, engine);
    lua_rawset(L, LUA_REGISTRYINDEX);
    return engine;
}

static void engine_handle_closed(uv_handle_t *handle)
{
    struct engine *engine = handle->data;
    if (--engine->open_handles == 0)
        free(engine);
}

void engine_destroy(struct engine *engine)
{
    INVARIANT(2, engine->counts.requests == 0);
    INVARIANT(7, engine->counts.tasks == 0 && engine->counts.ready == 0);
    budget_fini(&engine->budget);
    lua_pushlightuserdata(engine->L, &engine_key);
    lua_pushnil(engine->L);
    lua_rawset(engine->L, LUA_REGISTRYINDEX);
    uv_close((uv_handle_t *)&engine->turn, engine_handle_closed);
    uv_close((uv_handle_t *)&engine->deadline_timer, engine_handle_closed);
}

struct engine_counts engine_count(const struct engine *engine)
{
    return engine->counts;
}

lua_State *engine_state(const struct engine *engine)
{
    return engine->L;
}

struct budget *engine_budget(struct engine *engine)
{
    return &engine->budget;
}

struct engine *engine_of(lua_State *L)
{
    lua_pushlightuserdata(L, &engine_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    struct engine *engine = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return engine;
}

/* --- a task's life ------------------------------------------------------------------------------------ */

static void task_link(struct task *task)
{
    struct engine *engine = task->engine;
    task->previous = engine->last_task;
    *(task->previous != NULL ? &task->previous->next : &engine->tasks) = task;
    engine->last_task = task;
    engine->counts.tasks++;
    if (task->parent != NULL)
        task->parent->n_children++;
}

static void task_unlink(struct task *task)
{
    struct engine *engine = task->engine;
    *(task->previous != NULL ? &task->previous->next : &engine->tasks) = task->next;
    *(task->next != NULL ? &task->next->previous : &engine->last_task) = task->previous;
    engine->counts.tasks--;
}

/* Runs protected. (task) -> nothing */
static int new_coroutine(lua_State *L)
{
    struct task *task = lua_touserdata(L, 1);
    task->co = lua_newthread(L);
    task->reference = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

struct task *task_start(struct engine *engine, lua_State *L, int nargs, const struct task_options *options,
                        struct err *err)
{
    struct task *task = FAULT("task.start") ? NULL : calloc(1, sizeof *task);
    int status = task != NULL ? lua_cpcall(L, new_coroutine, task) : LUA_ERRMEM;
    if (status != 0) {
        lua_pop(L, nargs + 1 + (task != NULL ? 1 : 0)); /* lua_cpcall has left a message */
        free(task);
        err_set(err, ERR_NO_MEMORY, "out of memory while a task was started");
        return NULL;
    }
    task->engine = engine;
    task->parent = options->parent;
    task->nargs = nargs;
    task->deadline = UINT64_MAX;
    task->last_hook = &task->hooks;
    snprintf(task->name, sizeof task->name, "%s", options->name != NULL ? options->name : "task");
    lua_checkstack(task->co, nargs + 1);
    lua_xmove(L, task->co, nargs + 1);
    task_link(task);
    task->state = TASK_READY;
    task_make_ready(task);
    return task;
}

struct task *task_current(lua_State *L)
{
    struct engine *engine = engine_of(L);
    return engine != NULL && engine->running != NULL && engine->running->co == L ? engine->running : NULL;
}

const char *task_name(const struct task *task)
{
    return task->name;
}

struct task *task_parent(const struct task *task)
{
    return task->parent;
}

#ifdef MOONRUNNER_FAULTS
void engine_watch_waits(struct engine *engine, void (*fn)(struct task *, void *), void *arg)
{
    engine->watch = fn;
    engine->watch_arg = arg;
}
#endif

struct traceback_call {
    struct task *task;
    const char *message;
};

/* Runs protected. (call) -> nothing */
static int copy_traceback(lua_State *L)
{
    struct traceback_call *call = lua_touserdata(L, 1);
    luaL_traceback(L, call->task->co, call->message, 0);
    call->task->traceback = strdup(lua_tostring(L, -1));
    return 0;
}

static void task_fail(struct task *task, const struct err *err)
{
    task->end.failed = true;
    task->end.err = *err;
    if (task->noted_error == NULL) {
        struct traceback_call call = {.task = task, .message = err->message};
        free(task->traceback);
        task->traceback = NULL;
        if (lua_cpcall(task->engine->L, copy_traceback, &call) != 0)
            lua_pop(task->engine->L, 1);
    }
    task->end.traceback = task->traceback != NULL ? task->traceback : "(no memory for a traceback)";
}

/* What tells one error value from another, as far as that is needed; NULL for numbers and the like. */
static const void *identity_of(lua_State *L, int index)
{
    return lua_type(L, index) == LUA_TSTRING ? (const void *)lua_tostring(L, index) : lua_topointer(L, index);
}

void task_note_error(lua_State *L, int index)
{
    struct task *task = task_current(L);
    const void *identity = identity_of(L, index);
    if (task == NULL || identity == NULL || identity == task->noted_error)
        return;
    struct err err;
    lua_err_read(L, index, ERR_TASK_RAISED, &err);
    luaL_traceback(L, L, err.message, 1);
    free(task->traceback);
    task->traceback = strdup(lua_tostring(L, -1));
    task->noted_error = identity;
    lua_pop(L, 1);
}

/* The error on top of the dead coroutine. */
static void task_raised(struct task *task, int status)
{
    struct err err;
    if (identity_of(task->co, -1) != task->noted_error)
        task->noted_error = NULL;
    lua_err_read(task->co, -1, status == LUA_ERRMEM ? ERR_NO_MEMORY : ERR_TASK_RAISED, &err);
    task_fail(task, &err);
}

static void cancel_children(struct task *parent)
{
    struct err why;
    err_set(&why, ERR_TASK_CANCELLED, "cancelled: the task that started it has ended");
    for (struct task *task = parent->engine->tasks; task != NULL; task = task->next)
        if (task->parent == parent)
            task_cancel(task, &why);
}

/* Its last slice is over. The report waits for the children (invariant 7), and for its turn in the queue. */
static void task_finish(struct task *task)
{
    task->state = TASK_ENDING;
    if (task->n_children > 0)
        cancel_children(task);
    else
        task_make_ready(task);
}

/* Runs protected: (task) with the results of a task that did not fail, for each hook. */
static int call_end_hooks(lua_State *L)
{
    struct task *task = lua_touserdata(L, 1);
    lua_settop(L, 0);
    int nresults = task->end.failed ? 0 : lua_gettop(task->co);
    luaL_checkstack(L, nresults, "task results");
    lua_xmove(task->co, L, nresults);
    for (struct task_end_hook *hook = task->hooks; hook != NULL; hook = hook->next) {
        hook->fn(task, L, nresults, &task->end, hook->arg);
        lua_settop(L, nresults);
    }
    return 0;
}

static void task_free(struct task *task)
{
    while (task->hooks != NULL) {
        struct task_end_hook *hook = task->hooks;
        task->hooks = hook->next;
        free(hook);
    }
    while (task->shield != NULL)
        task_shield_leave(task);
    task_deadline_forget(task);
    task_fields_free(task);
    free(task->traceback);
    free(task);
}

static void task_report(struct task *task)
{
    struct engine *engine = task->engine;
    INVARIANT(7, task->n_children == 0);
    INVARIANT(2, task->pending == NULL);
    if (lua_cpcall(engine->L, call_end_hooks, task) != 0)
        engine_out_of_memory("the end of a task was reported");
    struct task *parent = task->parent;
    task_unlink(task);
    luaL_unref(engine->L, LUA_REGISTRYINDEX, task->reference);
    task_free(task);
    if (parent != NULL && --parent->n_children == 0 && parent->state == TASK_ENDING)
        task_make_ready(parent);
}

void task_on_end(struct task *task,
                 void (*fn)(struct task *, lua_State *, int, const struct task_end *, void *), void *arg)
{
    struct task_end_hook *hook = calloc(1, sizeof *hook);
    if (hook == NULL)
        engine_out_of_memory("a task's end was awaited");
    hook->fn = fn;
    hook->arg = arg;
    *task->last_hook = hook;
    task->last_hook = &hook->next;
}

/* --- running ------------------------------------------------------------------------------------------ */

/* Over the budget whatever the result: the task must not run again, but a request that it has left is waited
 * for. */
static void task_overran(struct task *task, const struct err *err)
{
    task->noted_error = NULL;
    task_fail(task, err);
    if (task->pending == NULL) {
        task_finish(task);
        return;
    }
    task->doomed = true;
    task->state = TASK_WAITING;
    request_cancel(task->pending);
}

static void task_resume(struct task *task)
{
    struct engine *engine = task->engine;
    INVARIANT(3, engine->running == NULL);
    INVARIANT(2, task->state == TASK_READY && (task->pending == NULL || task->pending->complete));
    int nargs = task->pending != NULL ? request_finish(task) : task->nargs;
    if (task->doomed) {
        task_finish(task);
        return;
    }
    task->state = TASK_RUNNING;
    engine->running = task;
    budget_start(&engine->budget);
    int status = lua_resume(task->co, nargs);
    budget_stop(&engine->budget);
    engine->running = NULL;

    struct err err;
    if (budget_tripped(&engine->budget, &err)) { /* invariant 9: before the result is looked at */
        task_overran(task, &err);
    } else if (status == LUA_YIELD && task->pending != NULL) {
        task->state = TASK_WAITING;
#ifdef MOONRUNNER_FAULTS
        if (engine->watch != NULL)
            engine->watch(task, engine->watch_arg);
#endif
    } else if (status == LUA_YIELD) {
        task->noted_error = NULL;
        err_set(&err, ERR_TASK_RAISED, "the task yielded without a request");
        task_fail(task, &err);
        task_finish(task);
    } else {
        if (status != 0)
            task_raised(task, status);
        task_finish(task);
    }
}
