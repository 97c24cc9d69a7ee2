/* Why a task's waits fail early: cancellation, deadlines, and the shields that hold both back (lua/task.h).
 *
 * One timer serves all deadlines. It is armed for the earliest; when it fires, all tasks are looked at. */
#include <stdlib.h>

#include "base/clock.h"
#include "lua/task_internal.h"

static void deadline_expired(uv_timer_t *);

static void timer_arm(struct engine *engine, uint64_t at)
{
    if (at >= engine->armed_at)
        return;
    uint64_t now = clock_monotonic_ms();
    engine->armed_at = at;
    uv_update_time(engine->loop); /* the loop's idea of now is as old as its turn */
    uv_timer_start(&engine->deadline_timer, deadline_expired, at > now ? at - now : 0, 0);
}

/* false: nothing is left to do about the task's deadline. One that has passed while the timer was being moved
 * still has to be told to the request that waits; a task that does not wait asks by itself before it waits
 * again. */
static bool needs_timer(const struct task *task, uint64_t now)
{
    return task->deadline > now || (task->state == TASK_WAITING && !task->pending->cancelled);
}

/* Arms for the earliest deadline that nobody has been told of. */
static void timer_rearm(struct engine *engine)
{
    uint64_t now = clock_monotonic_ms(), earliest = UINT64_MAX;
    for (struct task *task = engine->tasks; task != NULL; task = task->next)
        if (task->deadline < earliest && needs_timer(task, now))
            earliest = task->deadline;
    engine->armed_at = UINT64_MAX;
    if (earliest < UINT64_MAX)
        timer_arm(engine, earliest);
    else
        uv_timer_stop(&engine->deadline_timer);
}

static void deadline_expired(uv_timer_t *timer)
{
    struct engine *engine = timer->data;
    for (struct task *task = engine->tasks; task != NULL; task = task->next)
        if (task->state == TASK_WAITING && task_failing(task, NULL))
            request_cancel(task->pending);
    timer_rearm(engine);
}

int task_deadline_init(struct engine *engine)
{
    engine->deadline_timer.data = engine;
    return uv_timer_init(engine->loop, &engine->deadline_timer);
}

static void deadline_change(struct task *task, uint64_t at)
{
    uint64_t previous = task->deadline;
    task->deadline = at;
    if (at != UINT64_MAX && at < task->engine->armed_at)
        timer_arm(task->engine, at);
    else if (previous != UINT64_MAX && previous == task->engine->armed_at)
        timer_rearm(task->engine);
}

void task_deadline_forget(struct task *task)
{
    deadline_change(task, UINT64_MAX);
}

uint64_t task_set_deadline(struct task *task, uint64_t at)
{
    uint64_t previous = task->deadline;
    if (at < previous)
        deadline_change(task, at);
    return previous;
}

void task_restore_deadline(struct task *task, uint64_t previous)
{
    deadline_change(task, previous);
}

void task_shield_enter(struct task *task, uint64_t at)
{
    struct task_shield *shield = malloc(sizeof *shield);
    if (shield == NULL)
        engine_out_of_memory("a task was shielded");
    INVARIANT(6, at < UINT64_MAX);
    *shield = (struct task_shield){.outer = task->shield, .outer_deadline = task->deadline};
    task->shield = shield;
    deadline_change(task, at);
}

void task_shield_leave(struct task *task)
{
    struct task_shield *shield = task->shield;
    INVARIANT(6, shield != NULL);
    task->shield = shield->outer;
    deadline_change(task, shield->outer_deadline);
    free(shield);
}

bool task_failing(const struct task *task, struct err *why)
{
    if (task->cancelled && task->shield == NULL) {
        if (why != NULL)
            *why = task->cancel_reason;
        return true;
    }
    if (task->deadline == UINT64_MAX || clock_monotonic_ms() < task->deadline)
        return false;
    err_set(why, ERR_TASK_DEADLINE, "the time allowed for this is over");
    return true;
}

void task_cancel(struct task *task, const struct err *why)
{
    if (task->cancelled)
        return;
    task->cancelled = true;
    task->cancel_reason = *why;
    if (task->shield == NULL && task->state == TASK_WAITING)
        request_cancel(task->pending);
}
