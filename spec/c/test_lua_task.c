/* The engine's invariants 1 to 5: what a task is, what it waits on, and in which order it goes on
 * (lua/task.h). */
#include "../support/task_world.h"

/* --- 1. one coroutine, resumed only by the engine ----------------------------------------------------- */

static void a_task_runs_in_a_turn_of_the_loop_and_hands_its_results_over(void **state)
{
    (void)state;
    start("trail('ran') return 1, 'two', nil, true");
    assert_string_equal(world->trail, "");
    assert_int_equal(engine_count(world->engine).tasks, 1);
    run_to_end();
    assert_string_equal(world->trail, "ran");
    assert_result("1 two nil true");
}

static void a_waiting_task_survives_a_full_collection(void **state)
{
    (void)state;
    start("local kept = {'kept'} local got = hold() return kept[1], got");
    turn();
    lua_gc(world->L, LUA_GCCOLLECT, 0);
    lua_gc(world->L, LUA_GCCOLLECT, 0);
    request_complete(world->held, NULL);
    run_to_end();
    assert_result("kept held");
}

static void a_task_that_ended_is_collected(void **state)
{
    (void)state;
    run("return 1");
    lua_gc(world->L, LUA_GCCOLLECT, 0);
    int before = lua_gc(world->L, LUA_GCCOUNT, 0);
    for (int i = 0; i < 2000; i++)
        run("local t = {} for i = 1, 50 do t[i] = i end return #t");
    lua_gc(world->L, LUA_GCCOLLECT, 0);
    assert_true(lua_gc(world->L, LUA_GCCOUNT, 0) < before + 64);
}

static int lua_inside(lua_State *L)
{
    lua_pushboolean(L, task_current(L) != NULL);
    return 1;
}

static void only_the_coroutine_of_the_task_counts_as_inside_it(void **state)
{
    (void)state;
    assert_null(task_current(world->L));
    lua_register(world->L, "inside", lua_inside);
    run("return inside(), coroutine.wrap(inside)()");
    assert_result("true false");
}

/* --- 2. one request a wait, completed once ------------------------------------------------------------ */

static void a_request_is_released_once_after_its_results_were_pushed(void **state)
{
    (void)state;
    start("return hold(), hold()");
    turn();
    assert_int_equal(engine_count(world->engine).requests, 1);
    request_complete(world->held, NULL);
    assert_int_equal(world->releases, 0);
    turn();
    assert_int_equal(world->releases, 1);
    request_complete(world->held, NULL);
    run_to_end();
    assert_int_equal(world->releases, 2);
    assert_result("held held");
}

static void a_request_that_fails_is_nil_and_the_error(void **state)
{
    struct err err;
    (void)state;
    start("local value, err = hold() return value, err.code, err.message, err.retryable");
    turn();
    err_set(&err, ERR_FILE_FULL, "no room");
    request_complete(world->held, &err);
    run_to_end();
    assert_result("nil file.full no room true");
}

static void breach_complete_twice(void)
{
    start("hold()");
    turn();
    request_complete(world->held, NULL);
    request_complete(world->held, NULL);
}

static void completing_twice_stops_the_program(void **state)
{
    (void)state;
    assert_stops(breach_complete_twice);
}

static void a_yield_without_a_request_ends_the_task_and_nothing_else(void **state)
{
    (void)state;
    run("coroutine.yield(1)");
    assert_true(world->failed);
    assert_int_equal(world->end_err.code, ERR_TASK_RAISED);
    assert_string_equal(world->end_err.message, "the task yielded without a request");
    run("return 'alive'");
    assert_result("alive");
}

static void breach_destroy_with_request(void)
{
    start("hold()");
    turn();
    engine_destroy(world->engine);
}

static void breach_destroy_with_task(void)
{
    start("return 1");
    engine_destroy(world->engine);
}

static void an_engine_is_not_destroyed_under_a_task(void **state)
{
    (void)state;
    assert_stops(breach_destroy_with_request);
    assert_stops(breach_destroy_with_task);
}

/* --- 3. queued, never nested -------------------------------------------------------------------------- */

static void completion_does_not_run_the_task(void **state)
{
    (void)state;
    start("hold() trail('after')");
    turn();
    request_complete(world->held, NULL);
    assert_string_equal(world->trail, "");
    assert_int_equal(engine_count(world->engine).ready, 1);
    run_to_end();
    assert_string_equal(world->trail, "after");
}

static void tasks_run_in_the_order_in_which_they_became_ready(void **state)
{
    struct request *held[3];
    (void)state;
    for (int i = 0; i < 3; i++) {
        char source[64];
        snprintf(source, sizeof source, "trail('%c') hold() trail('%c')", 'a' + i, 'A' + i);
        start(source);
        turn();
        held[i] = world->held;
    }
    request_complete(held[2], NULL);
    request_complete(held[0], NULL);
    request_complete(held[1], NULL);
    start("trail('d')");
    while (engine_count(world->engine).tasks > 0)
        turn();
    assert_string_equal(world->trail, "abcCABd");
}

static void a_turn_runs_only_what_was_ready_when_it_began(void **state)
{
    (void)state;
    start("local there, back = host.task.channel(), host.task.channel()\n"
          "host.task.start(function() for i = 1, 20 do back:send(there:receive()) trail('-') end end)\n"
          "for i = 1, 20 do there:send(i) back:receive() trail('x') end");
    turn();
    turn();
    turn();
    turn();
    assert_true(strlen(world->trail) <=
                4); /* two tasks that wake each other do not keep the loop for themselves */
    run_to_end();
    assert_int_equal(strlen(world->trail), 40);
}

static const char *highest_frame, *lowest_frame;

static void note_frame(struct task *task, lua_State *L, int nresults, const struct task_end *end, void *arg)
{
    const char *frame = __builtin_frame_address(0);
    (void)task;
    (void)L;
    (void)nresults;
    (void)end;
    (void)arg;
    highest_frame = highest_frame == NULL || frame > highest_frame ? frame : highest_frame;
    lowest_frame = lowest_frame == NULL || frame < lowest_frame ? frame : lowest_frame;
}

/* note_end(): where on the C stack the end of this task is reported */
static int lua_note_end(lua_State *L)
{
    task_on_end(task_current(L), note_frame, NULL);
    return 0;
}

static void nested_tasks_end_one_after_the_other_at_the_same_stack_depth(void **state)
{
    struct err why;
    (void)state;
    highest_frame = lowest_frame = NULL;
    err_set(&why, ERR_TASK_CANCELLED, "test");
    lua_register(world->L, "note_end", lua_note_end);
    struct task *outermost = start("local function nest(n)\n"
                                   "  note_end()\n"
                                   "  if n == 0 then return hold() end\n"
                                   "  return host.task.start(nest, n - 1):join()\n"
                                   "end\n"
                                   "return nest(500)");
    while (world->held == NULL)
        uv_run(&world->loop, UV_RUN_ONCE);
    assert_int_equal(engine_count(world->engine).tasks, 501);
    task_cancel(outermost, &why);
    run_to_end();
    assert_result("nil task.cancelled: test");
    assert_ptr_equal(highest_frame, lowest_frame);
}

/* --- 4. a binding never resumes its own task before it has yielded ------------------------------------ */

static int lua_complete_at_once(lua_State *L)
{
    struct request *request = calloc(1, sizeof *request);
    request_init(request, &hold_type, request_task(L, "breach"));
    request_complete(request, NULL);
    return request_yield(L, request);
}

static void breach_complete_before_yield(void)
{
    lua_register(world->L, "breach", lua_complete_at_once);
    run("breach()");
}

static void completing_before_the_yield_stops_the_program(void **state)
{
    (void)state;
    assert_stops(breach_complete_before_yield);
}

static int lua_abandon(lua_State *L)
{
    struct request *request = calloc(1, sizeof *request);
    struct err err;
    request_init(request, &hold_type, request_task(L, "abandon"));
    request_abandon(request);
    free(request);
    err_set(&err, ERR_FILE_IO, "could not be armed");
    return lua_err_return(L, &err);
}

static void a_request_that_could_not_be_armed_is_given_up_without_a_wait(void **state)
{
    (void)state;
    lua_register(world->L, "abandon", lua_abandon);
    run("local _, err = abandon() return err.code, hold and 'goes on'");
    assert_result("file.io goes on");
    assert_int_equal(world->releases, 0);
}

static void a_value_that_is_there_is_returned_without_a_turn(void **state)
{
    (void)state;
    start("local c = host.task.channel() c:send(1) trail('sent') c:receive() trail(' received')");
    turn();
    assert_string_equal(world->trail, "sent received");
    run_to_end();
}

/* --- 5. cancelling a request leads to its completion -------------------------------------------------- */

static void cancelling_asks_once_and_the_task_hears_of_it_in_its_turn(void **state)
{
    struct err why;
    (void)state;
    err_set(&why, ERR_TASK_CANCELLED, "enough");
    struct task *task = start("local value, err = hold() trail(err.message) return value");
    turn();
    task_cancel(task, &why);
    task_cancel(task, &why);
    assert_int_equal(world->cancels, 1);
    assert_string_equal(world->trail, "");
    run_to_end();
    assert_string_equal(world->trail, "enough");
    assert_int_equal(world->releases, 1);
}

static void a_deadline_and_a_cancellation_ask_once_together(void **state)
{
    struct err why;
    (void)state;
    world->cancel_later = true;
    err_set(&why, ERR_TASK_CANCELLED, "enough");
    struct task *task = start("return hold()");
    turn(); /* it waits; only now its deadline comes, however slow the machine is */
    task_set_deadline(task, 0);
    while (world->cancels == 0)
        uv_run(&world->loop, UV_RUN_NOWAIT); /* nothing comes after the deadline: ONCE would wait for ever */
    task_cancel(task, &why);
    turn();
    assert_int_equal(world->cancels, 1);
    assert_false(world->ended);
    request_complete(world->held, NULL); /* it had succeeded: that is what the task is told */
    run_to_end();
    assert_result("held");
}

static void a_result_that_came_before_the_cancellation_is_not_lost(void **state)
{
    struct err why;
    (void)state;
    err_set(&why, ERR_TASK_CANCELLED, "too late");
    struct task *task = start("local got = hold() local _, err = hold() return got, err.message");
    turn();
    request_complete(world->held, NULL);
    task_cancel(task, &why);
    assert_int_equal(world->cancels, 0);
    run_to_end();
    assert_result("held too late");
}

static void work_on_a_thread_is_marked_and_awaited(void **state)
{
    struct err why;
    (void)state;
    err_set(&why, ERR_TASK_CANCELLED, "enough");
    struct task *task = start("local value, err = pool(0) return value, err.code, err.message");
    turn();
    assert_int_equal(worker_pool_pending(world->host.workers), 1);
    task_cancel(task, &why);
    assert_false(world->ended);
    assert_int_equal(engine_count(world->engine).requests, 1); /* until the thread hands it back */
    run_to_end();
    assert_result("nil task.cancelled enough");
    assert_int_equal(world->releases, 1);
}

static void work_on_threads_comes_back_to_its_tasks(void **state)
{
    (void)state;
    run("local tasks, sum = {}, 0\n"
        "for i = 1, 200 do tasks[i] = host.task.start(function() return pool(i) + pool(i) end) end\n"
        "for i = 1, 200 do sum = sum + tasks[i]:join() end\n"
        "return sum");
    assert_result("40600");
}

static void work_that_no_thread_takes_is_a_clean_error(void **state)
{
    (void)state;
    unsigned before = world->releases;
    fault_arm("base.thread", 1);
    run("local value, err = pool(1) return value, err and err.code");
    if (fault_count("base.thread") == 0) {
        puts("skipped: needs base/worker to start a thread here, and an idle one was there");
        skip();
    }
    assert_non_null(strstr(world->result, "nil "));
    assert_int_equal(world->releases, before + 1);
}

static void waiting_on_a_thread_outside_a_task_releases_what_it_was_given(void **state)
{
    (void)state;
    run("local ok, message = coroutine.wrap(function() return pcall(pool, 1) end)() return ok, message");
    assert_result("false pool waits only inside a task");
    assert_int_equal(world->releases, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_task_runs_in_a_turn_of_the_loop_and_hands_its_results_over),
        T(a_waiting_task_survives_a_full_collection),
        T(a_task_that_ended_is_collected),
        T(only_the_coroutine_of_the_task_counts_as_inside_it),
        T(a_request_is_released_once_after_its_results_were_pushed),
        T(a_request_that_fails_is_nil_and_the_error),
        T(completing_twice_stops_the_program),
        T(a_yield_without_a_request_ends_the_task_and_nothing_else),
        T(an_engine_is_not_destroyed_under_a_task),
        T(completion_does_not_run_the_task),
        T(tasks_run_in_the_order_in_which_they_became_ready),
        T(a_turn_runs_only_what_was_ready_when_it_began),
        T(nested_tasks_end_one_after_the_other_at_the_same_stack_depth),
        T(completing_before_the_yield_stops_the_program),
        T(a_request_that_could_not_be_armed_is_given_up_without_a_wait),
        T(a_value_that_is_there_is_returned_without_a_turn),
        T(cancelling_asks_once_and_the_task_hears_of_it_in_its_turn),
        T(a_deadline_and_a_cancellation_ask_once_together),
        T(a_result_that_came_before_the_cancellation_is_not_lost),
        T(work_on_a_thread_is_marked_and_awaited),
        T(work_on_threads_comes_back_to_its_tasks),
        T(work_that_no_thread_takes_is_a_clean_error),
        T(waiting_on_a_thread_outside_a_task_releases_what_it_was_given),
    };
    return cmocka_run_group_tests_name("task", tests, NULL, NULL);
}
