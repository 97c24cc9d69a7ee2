/* The CPU-time budget of one slice: a Lua state that runs longer without waiting is stopped. Loop thread, or
 * the one thread that owns the state.
 *
 * Hooks belong to the state, not to a coroutine, and never fire inside compiled code: the JIT must be off.
 * CPU time, not wall time: a throttled container must not fail its jobs. The clock is read in the hook only,
 * first about 20 µs into the slice, so that a short slice costs no system call. Once over, the hook is
 * re-armed for every instruction and keeps raising, so that no pcall, however often repeated, can go on.
 *
 * One C call cannot be interrupted (string.rep, a pathological pattern): the slice is stopped when it
 * returns. */
#ifndef MOONRUNNER_LUA_BUDGET_H
#define MOONRUNNER_LUA_BUDGET_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct budget {
    lua_State *L;      /* any coroutine of the state; borrowed */
    uint64_t slice_us; /* 0: no budget */
    uint64_t limit_us; /* of the thread's CPU clock; 0: not read yet in this slice */
    bool active;       /* between start and stop */
    bool tripped;
    char where[160]; /* "handle_job.lua:12: " when tripped */
};

/* Turns the JIT off in the state and remembers L (its main thread). -1: the JIT cannot be turned off. */
int budget_init(struct budget *, lua_State *L, uint64_t slice_us, struct err *);
void budget_fini(struct budget *);
/* Around each slice. */
void budget_start(struct budget *);
void budget_stop(struct budget *);
/* true: the last slice was over; err says where and by how much. Look at it before at any result. */
bool budget_tripped(const struct budget *, struct err *);
/* lua_pcall within a slice of its own, also from inside a running slice, which does not pay for it: for code
 * that is not to be trusted with its caller's (a script's top level). It cannot wait. -1: err is
 * task.overran, or what was raised (task.raised with file and line); nothing is left on the stack then. */
int budget_call(struct budget *, lua_State *L, int nargs, int nresults, struct err *);

#endif
