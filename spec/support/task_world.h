/* A host in small for the tests of the engine: one state, one loop, one pool; requests that the test
 * completes itself. Included by one test file each. */
#ifndef MOONRUNNER_SPEC_TASK_WORLD_H
#define MOONRUNNER_SPEC_TASK_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <lauxlib.h>
#include <lualib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "base/worker.h"
#include "lua/host.h"
#include "lua/lua_err.h"
#include "lua/request.h"
#include "lua/task.h"

struct world {
    uv_loop_t loop;
    uv_async_t wake;
    lua_State *L;
    struct engine *engine;
    struct mailbox mailbox;
    struct host host;
    char trail[256];      /* what trail("x") has collected */
    struct request *held; /* the request of hold() */
    unsigned releases, cancels;
    bool cancel_later;  /* hold()'s cancel only counts: the test completes it */
    struct err end_err; /* how the last root task ended */
    char traceback[2048];
    bool ended, failed;
    char result[256]; /* its first result as text */
};

static struct world *world;

static inline void wake_loop(void *arg)
{
    uv_async_send(arg);
}

static inline void drain_mailbox(uv_async_t *async)
{
    (void)async;
    mailbox_drain(&world->mailbox);
}

/* trail(text): appends to world->trail, to see in which order things happen */
static inline int lua_trail(lua_State *L)
{
    strncat(world->trail, luaL_checkstring(L, 1), sizeof world->trail - strlen(world->trail) - 1);
    return 0;
}

static inline int hold_push(lua_State *L, struct request *request)
{
    (void)request;
    lua_pushliteral(L, "held");
    return 1;
}

static inline void hold_cancel(struct request *request)
{
    struct err err;
    world->cancels++;
    if (world->cancel_later)
        return;
    err_set(&err, ERR_TASK_CANCELLED, "hold");
    request_complete(request, &err);
}

static inline void hold_release(struct request *request)
{
    world->releases++;
    free(request);
}

static const struct request_type hold_type = {"hold", hold_push, hold_cancel, hold_release};

/* hold() -> "held": waits until the test completes world->held */
static inline int lua_hold(lua_State *L)
{
    struct err err;
    struct task *task = request_task(L, "hold");
    if (task_failing(task, &err))
        return lua_err_return(L, &err);
    world->held = calloc(1, sizeof *world->held);
    request_init(world->held, &hold_type, task);
    return request_yield(L, world->held);
}

/* A wait on the pool; cancelling marks it. */
struct pool_wait {
    struct blocking blocking;
    unsigned long rounds;
};

static inline int pool_run(struct blocking *blocking, struct err *err)
{
    struct pool_wait *wait = (struct pool_wait *)blocking;
    while (wait->rounds == 0) {
        if (blocking->work.cancelled)
            return err_set(err, ERR_TASK_CANCELLED, "stopped by its mark");
        usleep(100);
    }
    wait->rounds++;
    return 0;
}

static inline int pool_push(lua_State *L, struct request *request)
{
    lua_pushnumber(L, (lua_Number)((struct pool_wait *)request)->rounds);
    return 1;
}

static const struct request_type pool_type = {.name = "pool", .push = pool_push, .release = hold_release};

/* pool(rounds) -> rounds + 1: on a worker; 0 waits there until it is cancelled */
static inline int lua_pool(lua_State *L)
{
    struct pool_wait *wait = calloc(1, sizeof *wait);
    wait->blocking.run = pool_run;
    wait->rounds = (unsigned long)luaL_checknumber(L, 1);
    return blocking_yield(L, &pool_type, &wait->blocking);
}

/* cancel_self(), and a shield and a deadline without Lua around them */
static inline int lua_cancel_self(lua_State *L)
{
    struct err why;
    err_set(&why, ERR_TASK_CANCELLED, "by itself");
    task_cancel(task_current(L), &why);
    return 0;
}

static inline int set_up_with_slice(void **state, uint64_t slice_us)
{
    struct err err;
    world = calloc(1, sizeof *world);
    *state = world;
    uv_loop_init(&world->loop);
    uv_async_init(&world->loop, &world->wake, drain_mailbox);
    assert_int_equal(mailbox_init(&world->mailbox, wake_loop, &world->wake, &err), 0);
    world->L = luaL_newstate();
    luaL_openlibs(world->L);
    world->engine = engine_create(world->L, &world->loop, &(struct engine_limits){slice_us}, &err);
    assert_non_null(world->engine);
    world->host = (struct host){.loop = &world->loop,
                                .engine = world->engine,
                                .mailbox = &world->mailbox,
                                .workers = worker_pool_create(&world->mailbox, 0, &err)};
    assert_non_null(world->host.workers);
    host_set(world->L, &world->host);
    host_open(world->L);
    lua_register(world->L, "trail", lua_trail);
    lua_register(world->L, "hold", lua_hold);
    lua_register(world->L, "pool", lua_pool);
    lua_register(world->L, "cancel_self", lua_cancel_self);
    return 0;
}

static inline int set_up(void **state)
{
    return set_up_with_slice(state, 0);
}

static inline int set_up_with_budget(void **state)
{
    return set_up_with_slice(state, 20000);
}

static inline int tear_down(void **state)
{
    (void)state;
    struct engine_counts counts = engine_count(world->engine);
    assert_int_equal(counts.tasks, 0);
    assert_int_equal(counts.requests, 0);
    assert_int_equal(lua_gettop(world->L), 0);
    assert_int_equal(worker_pool_pending(world->host.workers), 0);
    worker_pool_destroy(world->host.workers);
    mailbox_close(&world->mailbox);
    mailbox_drain(&world->mailbox);
    mailbox_fini(&world->mailbox);
    engine_destroy(world->engine);
    lua_close(world->L);
    uv_close((uv_handle_t *)&world->wake, NULL);
    uv_run(&world->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&world->loop), 0);
    free(world);
    fault_reset();
    return 0;
}

static inline void root_ended(struct task *task, lua_State *L, int nresults, const struct task_end *end,
                              void *arg)
{
    (void)task;
    (void)arg;
    world->ended = true;
    world->failed = end->failed;
    world->end_err = end->err;
    if (end->failed)
        snprintf(world->traceback, sizeof world->traceback, "%s", end->traceback);
    world->result[0] = '\0';
    for (int i = 1; i <= nresults; i++) {
        lua_getglobal(L, "tostring");
        lua_pushvalue(L, i);
        lua_call(L, 1, 1);
        size_t used = strlen(world->result);
        snprintf(world->result + used, sizeof world->result - used, "%s%s", i > 1 ? " " : "",
                 lua_tostring(L, -1));
        lua_pop(L, 1);
    }
}

static inline struct task *start(const char *source)
{
    struct err err;
    world->ended = false;
    assert_int_equal(luaL_loadbuffer(world->L, source, strlen(source), "=test"), 0);
    struct task *task = task_start(world->engine, world->L, 0, &(struct task_options){.name = "test"}, &err);
    assert_non_null(task);
    task_on_end(task, root_ended, NULL);
    return task;
}

static inline void turn(void)
{
    uv_run(&world->loop, UV_RUN_NOWAIT);
}

static inline void run_to_end(void)
{
    while (!world->ended)
        uv_run(&world->loop, UV_RUN_ONCE);
}

static inline void run(const char *source)
{
    start(source);
    run_to_end();
}

static inline void assert_result(const char *expected)
{
    if (world->failed)
        fail_msg("the task failed: %s", world->traceback);
    assert_string_equal(world->result, expected);
}

/* The program must stop with SIGABRT when `breach` runs. */
static inline void assert_stops(void (*breach)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(1);
        breach();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define B(test) cmocka_unit_test_setup_teardown(test, set_up_with_budget, tear_down)

#endif
