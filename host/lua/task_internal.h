/* The engine's own view of tasks, shared by task.c, task_deadline.c, task_fields.c and request.c, and by
 * nobody else. */
#ifndef MOONRUNNER_LUA_TASK_INTERNAL_H
#define MOONRUNNER_LUA_TASK_INTERNAL_H

#include "base/log.h"
#include "lua/budget.h"
#include "lua/invariant.h"
#include "lua/request.h"
#include "lua/task.h"

enum task_state {
    TASK_READY,   /* in the ready queue */
    TASK_RUNNING, /* inside lua_resume */
    TASK_WAITING, /* has a pending request that is not complete */
    TASK_ENDING, /* its last slice is over; it waits for its children, or in the ready queue for its report */
};

struct task_shield {
    struct task_shield *outer;
    uint64_t outer_deadline;
};

struct task_end_hook {
    struct task_end_hook *next;
    void (*fn)(struct task *, lua_State *, int, const struct task_end *, void *);
    void *arg;
};

struct task {
    struct engine *engine;
    struct task *next, *previous; /* all tasks of the engine, oldest first */
    struct task *next_ready;
    struct task *parent;
    size_t n_children;
    lua_State *co;
    int reference; /* the registry's anchor of co */
    int nargs;     /* what the next resume passes, on co */
    enum task_state state;
    struct request *pending; /* NULL unless waiting, or ready with its result */
    bool cancelled;
    struct err cancel_reason;
    bool doomed; /* must not run again: its pending request is waited for, then it ends */
    struct task_shield *shield;
    uint64_t deadline; /* the innermost one; UINT64_MAX: none */
    struct task_end end;
    char *traceback;         /* end.traceback, once it failed */
    const void *noted_error; /* traceback belongs to this error value (task_note_error) */
    struct task_end_hook *hooks, **last_hook;
    struct log_field *fields; /* own; names and texts are owned */
    size_t n_fields;
    char name[48];
};

struct engine {
    lua_State *L;
    uv_loop_t *loop;
    struct budget budget;
    struct task *running;
    struct task *tasks, *last_task;
    struct task *ready, **last_ready;
    struct engine_counts counts;
    uv_idle_t turn;            /* active while the ready queue is not empty */
    uv_timer_t deadline_timer; /* armed for the earliest deadline */
    uint64_t armed_at;         /* UINT64_MAX: not armed */
    int open_handles;
#ifdef MOONRUNNER_FAULTS
    void (*watch)(struct task *, void *); /* NULL: nobody watches the waits */
    void *watch_arg;
#endif
};

/* task.c: appends the task to the ready queue; it runs in the next turn. */
void task_make_ready(struct task *);

/* request.c: asks for an early end, once. */
void request_cancel(struct request *);
/* request.c: pushes the results of the task's complete request on its coroutine (not when the task is
 * doomed), releases the request, and returns how many results there are. */
int request_finish(struct task *);

/* task_deadline.c */
int task_deadline_init(struct engine *);
/* The task is about to go; its deadline needs no timer any more. */
void task_deadline_forget(struct task *);

/* task_fields.c */
void task_fields_free(struct task *);

#endif
