/* The engine's invariants 6 to 9: how a task is ended, by others and by itself (lua/task.h). */
#include "../support/task_world.h"

/* --- 6. sticky, and held back by shields -------------------------------------------------------------- */

static void a_task_may_cancel_itself(void **state)
{
    (void)state;
    run("cancel_self() local _, one = hold() local _, two = hold() return one.message, two.message");
    assert_result("by itself by itself");
}

static void a_task_cancelled_before_its_first_slice_runs_and_can_clean_up(void **state)
{
    struct err why;
    (void)state;
    err_set(&why, ERR_TASK_CANCELLED, "early");
    task_cancel(start("local ok = host.task.shield(60000, host.time.sleep, 1) local _, err = hold()\n"
                      "return ok, err.message"),
                &why);
    run_to_end();
    assert_result("true early");
}

static void a_shield_ends_with_its_own_deadline(void **state)
{
    (void)state;
    run("cancel_self() return host.task.shield(1, function() local _, err = hold() return err.code end)");
    assert_result("task.deadline");
    assert_int_equal(world->cancels, 1);
}

static bool a_timer_is_armed(void)
{
    uv_run(&world->loop, UV_RUN_NOWAIT);
    return uv_backend_timeout(&world->loop) >= 0;
}

static void a_task_that_dies_inside_a_shield_or_a_deadline_leaves_no_timer(void **state)
{
    (void)state;
    run("host.task.shield(60000, host.task.deadline, 50000, error, 'inside')");
    assert_non_null(strstr(world->end_err.message, "inside"));
    assert_false(a_timer_is_armed());
    run("host.task.deadline(60000, coroutine.yield)");
    assert_true(world->failed);
    assert_false(a_timer_is_armed());
    run("host.task.shield(60000, coroutine.yield)");
    assert_true(world->failed);
    assert_false(a_timer_is_armed());
}

static void breach_shield_without_end(void)
{
    task_shield_enter(start("return 1"), UINT64_MAX);
}

static void a_shield_without_a_deadline_stops_the_program(void **state)
{
    (void)state;
    assert_stops(breach_shield_without_end);
}

static void a_deadline_from_c_is_restored(void **state)
{
    (void)state;
    struct task *task = start("return host.time.sleep(1)");
    uint64_t far = clock_monotonic_ms() + 60000;
    assert_true(task_set_deadline(task, far) == UINT64_MAX);
    assert_true(task_set_deadline(task, 1) == far);
    assert_true(task_failing(task, NULL));
    assert_true(task_set_deadline(task, far) == 1);
    assert_true(task_failing(task, NULL)); /* a nested one can only be earlier */
    task_restore_deadline(task, UINT64_MAX);
    assert_false(task_failing(task, NULL));
    run_to_end();
    assert_result("true");
}

/* --- 7. children -------------------------------------------------------------------------------------- */

static void the_end_of_a_task_is_reported_after_that_of_its_children(void **state)
{
    (void)state;
    run("local grandchild = function() local _, err = hold() trail(err.message) end\n"
        "host.task.start(function() host.task.start(grandchild) hold() trail(' child') end)\n"
        "host.time.sleep(1) trail('parent: ') return 'result'");
    assert_result("result");
    assert_non_null(strstr(world->trail, "parent: "));
    assert_non_null(strstr(world->trail, "cancelled: the task that started it has ended"));
    assert_non_null(strstr(world->trail, " child"));
    assert_int_equal(world->cancels, 2);
}

static void a_task_that_fails_takes_its_children_along(void **state)
{
    (void)state;
    run("host.task.start(function() hold() trail('child') end) host.time.sleep(1) error('broken')");
    assert_true(world->failed);
    assert_string_equal(world->trail, "child");
}

/* --- 8. errors as values ------------------------------------------------------------------------------ */

static void an_error_ends_the_task_with_a_traceback(void **state)
{
    (void)state;
    run("local function inner() error('broken') end\nlocal function outer() inner() end\nouter()");
    assert_true(world->failed);
    assert_int_equal(world->end_err.code, ERR_TASK_RAISED);
    assert_string_equal(world->end_err.message, "test:1: broken");
    assert_non_null(strstr(world->traceback, "stack traceback:"));
    assert_non_null(strstr(world->traceback, "test:2: in function"));
}

static void an_error_value_keeps_its_code_and_anything_else_is_named(void **state)
{
    (void)state;
    run("local _, err = host.json.check('{', 5) error(err)");
    assert_int_equal(world->end_err.code, ERR_JSON_INVALID);
    run("error({1, 2})");
    assert_string_equal(world->end_err.message, "a table was raised as an error");
    run("error()");
    assert_string_equal(world->end_err.message, "a nil was raised as an error");
    run("error(setmetatable({}, {__tostring = function() while true do end end}))");
    assert_string_equal(world->end_err.message, "a table was raised as an error");
    run("error({code = 'no.such.code', message = 'x'})");
    assert_int_equal(world->end_err.code, ERR_TASK_RAISED);
}

static void an_error_raised_again_keeps_the_traceback_of_its_origin(void **state)
{
    (void)state;
    run("local function origin() error({code = 'file.full', message = 'no room'}) end\n"
        "host.task.deadline(60000, host.task.shield, 60000, origin)");
    assert_int_equal(world->end_err.code, ERR_FILE_FULL);
    assert_non_null(strstr(world->traceback, "test:1: in function"));
    run("pcall(host.task.deadline, 60000, error, 'first') error('second')");
    assert_non_null(strstr(world->traceback, "second"));
}

static void a_task_that_cannot_be_started_is_an_error_and_nothing_is_left(void **state)
{
    struct err err;
    (void)state;
    lua_pushcfunction(world->L, lua_trail);
    lua_pushliteral(world->L, "x");
    fault_arm("task.start", 1);
    assert_null(task_start(world->engine, world->L, 1, &(struct task_options){0}, &err));
    assert_int_equal(err.code, ERR_NO_MEMORY);
    assert_int_equal(lua_gettop(world->L), 0);
    fault_arm("engine.create", 1);
    assert_null(engine_create(world->L, &world->loop, &(struct engine_limits){0}, &err));
    assert_int_equal(err.code, ERR_NO_MEMORY);
    assert_ptr_equal(engine_of(world->L), world->engine);
    fault_arm("task.start", 2);
    run("local task, err = host.task.start(print) return task, err.code");
    assert_result("nil memory.exhausted");
    fault_arm("time.sleep", 1);
    run("return select(2, host.time.sleep(1)).code");
    assert_result("memory.exhausted");
    fault_arm("channel.receive", 1);
    run("return select(2, host.task.channel():receive()).code");
    assert_result("memory.exhausted");
}

/* --- 9. the budget of a slice ------------------------------------------------------------------------- */

static void a_runaway_ends_with_its_place_and_others_go_on(void **state)
{
    (void)state;
    run("host.task.start(function() while true do pcall(function() while true do end end) end end)\n"
        "host.time.sleep(1) return 'alive'");
    assert_result("alive");
    run("local x = 1\nwhile true do x = x + 1 end");
    assert_true(world->failed);
    assert_int_equal(world->end_err.code, ERR_TASK_OVERRAN);
    assert_string_equal(world->end_err.message, "test:2: ran more than 20 ms without waiting");
    run("return 'still alive'");
    assert_result("still alive");
}

/* spin(ms): uses CPU time in C, where no hook can look */
static int lua_spin(lua_State *L)
{
    uint64_t until = clock_thread_cpu_us() + (uint64_t)luaL_checknumber(L, 1) * 1000;
    while (clock_thread_cpu_us() < until)
        ;
    return 0;
}

static void time_spent_in_c_counts_once_lua_runs_again(void **state)
{
    (void)state;
    lua_register(world->L, "spin", lua_spin);
    run("for i = 1, 4100 do end spin(30) for i = 1, 100000 do end return 'unnoticed'");
    assert_true(world->failed);
    assert_int_equal(world->end_err.code, ERR_TASK_OVERRAN);
}

static void compiled_code_is_never_produced(void **state)
{
    (void)state;
    run("for i = 1, 100000 do end return (jit.status())");
    assert_result("false");
}

static void the_budget_belongs_to_a_slice_not_to_a_task(void **state)
{
    (void)state;
    lua_register(world->L, "spin", lua_spin);
    run("for i = 1, 12 do\n"
        "  for j = 1, 5000 do end spin(4) for j = 1, 5000 do end\n"
        "  host.time.sleep(0)\n"
        "end\n"
        "return 'done'");
    assert_result("done");
}

/* --- log fields --------------------------------------------------------------------------------------- */

static void a_child_carries_the_fields_of_those_above_it_and_the_nearest_wins(void **state)
{
    struct log_field all[8];
    (void)state;
    struct task *parent = start("hold()");
    struct err err;
    assert_int_equal(luaL_loadstring(world->L, "return 1"), 0);
    struct task *child = task_start(world->engine, world->L, 0,
                                    &(struct task_options){.parent = parent, .name = "child"}, &err);
    task_set_fields(parent, (struct log_field[]){LOG_T("key", "e1"), LOG_I("attempt", 1)}, 2);
    task_set_fields(child, (struct log_field[]){LOG_I("attempt", 2), LOG_T("step", "fetch")}, 2);
    task_set_fields(child, (struct log_field[]){LOG_T("step", "run")}, 1);
    assert_int_equal(task_fields(child, all, 8), 3);
    assert_string_equal(all[0].text, "e1");
    assert_int_equal(all[1].integer, 2);
    assert_string_equal(all[2].text, "run");
    assert_int_equal(task_fields(child, all, 1), 1);
    turn();
    request_complete(world->held, NULL);
    run_to_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_task_may_cancel_itself),
        T(a_task_cancelled_before_its_first_slice_runs_and_can_clean_up),
        T(a_shield_ends_with_its_own_deadline),
        T(a_task_that_dies_inside_a_shield_or_a_deadline_leaves_no_timer),
        T(a_shield_without_a_deadline_stops_the_program),
        T(a_deadline_from_c_is_restored),
        T(the_end_of_a_task_is_reported_after_that_of_its_children),
        T(a_task_that_fails_takes_its_children_along),
        T(an_error_ends_the_task_with_a_traceback),
        T(an_error_value_keeps_its_code_and_anything_else_is_named),
        T(an_error_raised_again_keeps_the_traceback_of_its_origin),
        T(a_task_that_cannot_be_started_is_an_error_and_nothing_is_left),
        B(a_runaway_ends_with_its_place_and_others_go_on),
        B(time_spent_in_c_counts_once_lua_runs_again),
        B(compiled_code_is_never_produced),
        B(the_budget_belongs_to_a_slice_not_to_a_task),
        T(a_child_carries_the_fields_of_those_above_it_and_the_nearest_wins),
    };
    return cmocka_run_group_tests_name("task ends", tests, NULL, NULL);
}
