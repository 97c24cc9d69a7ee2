/* A request: one pending wait of a task. Loop thread only. The way every waiting binding is written:
 *
 *     struct task *t = request_task(L);                  // raises "NAME waits only inside a task" outside
 * one if (task_failing(t, &err)) return lua_err_return(L, &err); r = calloc(…); request_init(&r->request,
 * &type, t); … arm the event; on failure request_abandon(&r->request) and return lua_err_return … return
 * request_yield(L, &r->request);
 */
#ifndef MOONRUNNER_LUA_REQUEST_H
#define MOONRUNNER_LUA_REQUEST_H

#include <lua.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/worker.h"

struct task;
struct request;

struct request_type {
    const char *name; /* "file.remove_tree": used in messages */
    /* Pushes the results on the given state and returns how many. Runs protected, before the task goes on, on
     * a stack that is empty and is not the task's own; may raise only memory errors, which end the program.
     * Not called when the request completed with an error: then nil, err is pushed. */
    int (*push)(lua_State *, struct request *);
    /* Asks for an early end; request_complete must still come, exactly once. NULL: can not be hurried. */
    void (*cancel)(struct request *);
    /* The last reference: frees the enclosing object. Runs after push, or instead of it when the task is
     * gone. */
    void (*release)(struct request *);
};

struct request {
    const struct request_type *type;
    struct task *owner;
    void (*cancel)(struct request *); /* the type's, unless request_init's caller sets another */
    bool yielded, complete, cancelled, failed;
    struct err err;
};

/* The task that runs on L. Raises "NAME waits only inside a task", or that nothing can wait inside a callback
 * of a C function: nothing yields across a C frame. */
struct task *request_task(lua_State *L, const char *name);
void request_init(struct request *, const struct request_type *, struct task *owner);
/* `return request_yield(L, r);`: asserts that r is not complete (invariant 4). */
int request_yield(lua_State *L, struct request *);
/* Queues the owner (invariant 3). err NULL: success; its results reach the task also when it was cancelled
 * meanwhile. An error of a request that was cancelled is replaced by the reason. A second call asserts. */
void request_complete(struct request *, const struct err *err);
/* Gives up a request that was initialised but never yielded. Does not call release. */
void request_abandon(struct request *);

/* A request that is work for the pool: the usual way to make a blocking function wait.
 * Embed it first; fill run (worker thread; return -1 and fill err on failure); push and release come from the
 * type. */
struct blocking {
    struct request request;
    struct work work;
    int (*run)(struct blocking *, struct err *);
    struct err err;
    int status;
};
/* Checks the task, starts b->run on a worker and yields. b and all that it points to must be prepared and
 * owned by b before the call. On failure to start, type->release runs and nil, err is returned. Cancelling
 * marks b->work.cancelled; run may look at it (worker thread); the task is resumed only when the thread is
 * done (invariant 5). */
int blocking_yield(lua_State *L, const struct request_type *type, struct blocking *b);

#endif
