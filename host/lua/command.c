/* Runs a command of lualib/cli/ as the program's root task (command.h). */
#include "lua/command.h"

#include <lauxlib.h>
#include <limits.h>
#include <luajit.h>
#include <stdio.h>
#include <stdlib.h>

#include "lua/host.h"
#include "lua/lua_err.h"
#include "lua/sandbox.h"
#include "lua/task.h"

struct command {
    void (*ended)(int exit_code, const struct task_end *, void *);
    void *arg;
};

lua_State *command_create_state(const char *home, struct err *err)
{
    char lualib[PATH_MAX + 16];
    lua_State *L = luaL_newstate();
    if (L == NULL) {
        err_set(err, ERR_NO_MEMORY, "no memory for a Lua state");
        return NULL;
    }
    /* A count hook never fires inside compiled code: no budget would hold. */
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    snprintf(lualib, sizeof lualib, "%s/lualib", home);
    sandbox_open(L, lualib);
    return L;
}

void command_open_host(lua_State *L, struct host *host)
{
    host_set(L, host);
    host_open(L);
    lua_getglobal(L, "host");
    lua_pushstring(L, host->home);
    lua_setfield(L, -2, "home");
    lua_pop(L, 1);
}

static void task_ended(struct task *task, lua_State *L, int nresults, const struct task_end *end, void *arg)
{
    struct command command = *(struct command *)arg;
    (void)task;
    free(arg);
    command.ended(nresults > 0 ? (int)lua_tointeger(L, 1) : 0, end, command.arg);
}

/* () -> main function, command's name or nil, {words…} */
static int push_command(lua_State *L, int n, char *const *arguments, struct err *err)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "cli.main");
    if (lua_pcall(L, 1, 1, 0) != 0) {
        lua_err_read(L, -1, ERR_SCRIPT_INVALID, err);
        return -1;
    }
    lua_getfield(L, -1, "main");
    lua_remove(L, -2);
    if (n > 0)
        lua_pushstring(L, arguments[0]);
    else
        lua_pushnil(L);
    lua_createtable(L, n, 0);
    for (int i = 1; i < n; i++) {
        lua_pushstring(L, arguments[i]);
        lua_rawseti(L, -2, i);
    }
    return 0;
}

int command_start(lua_State *L, struct engine *engine, int n, char *const *arguments,
                  void (*ended)(int exit_code, const struct task_end *, void *), void *arg, struct err *err)
{
    const struct task_options options = {.name = "command"};
    struct command *command = malloc(sizeof *command);
    if (command == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for a command");
    *command = (struct command){ended, arg};
    struct task *task =
        push_command(L, n, arguments, err) < 0 ? NULL : task_start(engine, L, 2, &options, err);
    if (task == NULL) {
        free(command);
        return -1;
    }
    task_on_end(task, task_ended, command);
    return 0;
}

void command_close_state(lua_State *L)
{
    lua_close(L);
}
