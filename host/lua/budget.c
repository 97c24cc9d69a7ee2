/* The count hook that ends a slice which has used up its CPU time (lua/budget.h). */
#include "lua/budget.h"

#include <lauxlib.h>
#include <luajit.h>
#include <stdio.h>

#include "base/clock.h"
#include "lua/lua_err.h"

enum { INSTRUCTIONS_BETWEEN_LOOKS = 4000 };

static char budget_key; /* its address is the registry's key for the state's budget */

static void budget_hook(lua_State *L, lua_Debug *debug)
{
    (void)debug;
    lua_pushlightuserdata(L, &budget_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    struct budget *budget = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!budget->tripped) {
        uint64_t now = clock_thread_cpu_us();
        if (budget->limit_us == 0)
            budget->limit_us = now + budget->slice_us;
        if (now < budget->limit_us)
            return;
        budget->tripped = true;
        luaL_where(L, 0); /* in a hook, level 0 is the function that runs */
        snprintf(budget->where, sizeof budget->where, "%s", lua_tostring(L, -1));
        lua_pop(L, 1);
        lua_sethook(L, budget_hook, LUA_MASKCOUNT, 1);
    }
    lua_pushfstring(L, "%sran more than %d ms without waiting", budget->where,
                    (int)(budget->slice_us / 1000));
    lua_error(L);
}

int budget_init(struct budget *budget, lua_State *L, uint64_t slice_us, struct err *err)
{
    *budget = (struct budget){.L = L, .slice_us = slice_us};
    if (!luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF))
        return err_set(err, ERR_INTERNAL, "the JIT compiler of this LuaJIT cannot be turned off");
    lua_pushlightuserdata(L, &budget_key);
    lua_pushlightuserdata(L, budget);
    lua_rawset(L, LUA_REGISTRYINDEX);
    return 0;
}

void budget_fini(struct budget *budget)
{
    lua_sethook(budget->L, NULL, 0, 0);
    lua_pushlightuserdata(budget->L, &budget_key);
    lua_pushnil(budget->L);
    lua_rawset(budget->L, LUA_REGISTRYINDEX);
}

static void hook_set(struct budget *budget)
{
    if (budget->slice_us == 0)
        return;
    if (budget->active)
        lua_sethook(budget->L, budget_hook, LUA_MASKCOUNT, INSTRUCTIONS_BETWEEN_LOOKS);
    else
        lua_sethook(budget->L, NULL, 0, 0);
}

void budget_start(struct budget *budget)
{
    budget->active = true;
    budget->tripped = false;
    budget->limit_us = 0;
    hook_set(budget);
}

void budget_stop(struct budget *budget)
{
    budget->active = false;
    hook_set(budget);
}

bool budget_tripped(const struct budget *budget, struct err *err)
{
    if (budget->tripped)
        err_set(err, ERR_TASK_OVERRAN, "%sran more than %llu ms without waiting", budget->where,
                (unsigned long long)(budget->slice_us / 1000));
    return budget->tripped;
}

int budget_call(struct budget *budget, lua_State *L, int nargs, int nresults, struct err *err)
{
    int base = lua_gettop(L) - nargs - 1;
    bool outer_active = budget->active;
    uint64_t outer_limit = budget->limit_us, before = clock_thread_cpu_us();
    budget_start(budget);
    int status = lua_pcall(L, nargs, nresults, 0);
    bool tripped = budget_tripped(budget, err);
    budget->active = outer_active;
    budget->tripped = false;
    budget->limit_us = outer_limit == 0 ? 0 : outer_limit + clock_thread_cpu_us() - before;
    hook_set(budget);
    if (tripped) {
        lua_settop(L, base);
        return -1;
    }
    if (status != 0) {
        lua_err_read(L, -1, status == LUA_ERRMEM ? ERR_NO_MEMORY : ERR_TASK_RAISED, err);
        lua_settop(L, base);
        return -1;
    }
    return 0;
}
