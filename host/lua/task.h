/* A task: one Lua coroutine that waits on requests. Everything here runs on the loop thread.
 *
 * Invariants (asserted in task.c):
 * 1. A task is one coroutine, anchored by one registry reference. Only task_resume calls lua_resume.
 * 2. Every wait is one request, at most one a task, completed exactly once. Nothing else resumes a task.
 * 3. Completion is queued, never nested: stack depth is constant and order is deterministic.
 * 4. A binding never resumes its own task before it has yielded; a ready result is returned, not yielded.
 * 5. Cancelling a request is idempotent and leads to its completion. Work owned by a thread is marked, and
 * completes when the thread hands it back: nothing ever writes into a file or buffer whose task is gone.
 * 6. Cancellation and deadlines are sticky and look like ordinary failures: nil, err. Clean-up runs in a
 * shield with a deadline of its own.
 * 7. A child task never outlives its scope; the first failure cancels the siblings; leaving a scope joins
 * them.
 * 8. No Lua error crosses a C library's frame. Wrong arguments raise; operational failures return nil, err.
 * 9. A slice (resume to yield) has a CPU-time budget: over it, that task fails and the host lives. */
#ifndef MOONRUNNER_LUA_TASK_H
#define MOONRUNNER_LUA_TASK_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"

struct budget;
struct engine;
struct log_field;
struct task;

struct engine_limits {
    uint64_t slice_us; /* CPU time of one slice; 0 = no budget */
};
struct engine_counts {
    size_t tasks, requests, ready;
};
struct task_options {
    struct task *parent; /* NULL: a root task */
    const char *name;    /* for logs and tracebacks; copied */
};

/* Borrows L and loop. The JIT must be off in L (a count hook never fires inside compiled code). */
struct engine *engine_create(lua_State *L, uv_loop_t *loop, const struct engine_limits *, struct err *);
/* Asserts that no task and no request is left. The loop must run once more for its handles to close. */
void engine_destroy(struct engine *);
struct engine_counts engine_count(const struct engine *);
struct engine *engine_of(lua_State *L);
/* The main thread of the engine's Lua state: for references that outlive a task. */
lua_State *engine_state(const struct engine *);
/* For code that is not to be trusted with its caller's slice (budget_call). */
struct budget *engine_budget(struct engine *);

/* The function and its nargs arguments on top of L are consumed. Queued, never run here. NULL: out of memory.
 */
struct task *task_start(struct engine *, lua_State *L, int nargs, const struct task_options *, struct err *);
/* NULL on the main thread and inside a coroutine that is no task: bindings raise then. */
struct task *task_current(lua_State *L);
/* For messages and logs. */
const char *task_name(const struct task *);
struct task *task_parent(const struct task *);
/* Sticky, idempotent; cancels the pending request, whose completion resumes the task later with nil, err.
 * Safe from inside the task itself. */
void task_cancel(struct task *, const struct err *why);
/* Deadline in monotonic milliseconds, UINT64_MAX = none; a nested one can only be earlier. Returns the
 * previous one, to be restored with task_restore_deadline. */
uint64_t task_set_deadline(struct task *, uint64_t at);
void task_restore_deadline(struct task *, uint64_t previous);
/* Between the two, cancellation and outer deadlines are held back; the own deadline `at` is mandatory. They
 * nest. */
void task_shield_enter(struct task *, uint64_t at);
void task_shield_leave(struct task *);
/* true: cancelled or past its deadline, and not shielded; fills why (may be NULL). Every waiting binding asks
 * before it starts work (invariant 6). */
bool task_failing(const struct task *, struct err *why);

/* Fields that every log line of this task and of its children carries; a name that is there already is
 * replaced. Names and texts are copied. */
void task_set_fields(struct task *, const struct log_field *, size_t n);
/* The task's fields and those of the tasks above it (the nearest wins), outermost first, up to `max` into
 * out; they stay valid until the next task_set_fields. Returns how many. */
size_t task_fields(const struct task *, struct log_field *out, size_t max);

/* How a task ended. `failed`: err and traceback tell; the traceback names file and line and is never NULL
 * then. */
struct task_end {
    bool failed;
    struct err err;
    const char *traceback;
};
/* fn once, after the last slice and after the end of all children, on the loop thread. Several may be added;
 * they run in order. The task's return values are on `L` from index 1 (nresults of them; none when it
 * failed), valid during the call only. fn runs protected and may raise only memory errors, which end the
 * program. */
void task_on_end(struct task *,
                 void (*fn)(struct task *, lua_State *L, int nresults, const struct task_end *, void *),
                 void *arg);
/* Keeps the traceback of the error value at `index`, which is being raised in the running task, for the case
 * that the same value ends the task after somebody has caught it and raised it again. For message handlers.
 */
void task_note_error(lua_State *L, int index);

#ifdef MOONRUNNER_FAULTS
/* For tests: fn is called whenever a task has begun to wait; it may cancel tasks. NULL: nobody watches. */
void engine_watch_waits(struct engine *, void (*fn)(struct task *, void *), void *arg);
#endif

#endif
