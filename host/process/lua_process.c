/* The door host.process: starts programs, waits for the end of their trees, stops them. host/README.md has
 * the contract.
 *
 * A program belongs to the task that started it: when that ends, the program is killed. The userdata that Lua
 * holds, the task and every wait refer to one `struct program`; the last one frees it. */
#include <lauxlib.h>
#include <lua.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "lua/doors.h"
#include "lua/host.h"
#include "lua/lua_dir.h"
#include "lua/lua_err.h"
#include "lua/request.h"
#include "lua/task.h"
#include "process/process.h"

#define PROGRAM_TYPE "host.process"
#define GRACE_DEFAULT_MS 10000
#define LIMITS_MAX 16

struct wait;

struct program {
    unsigned references;
    struct process *process; /* NULL when it has ended */
    pid_t pid;
    struct process_end end;
    struct wait *waits;
};

struct wait {
    struct request request;
    struct program *program;
    struct wait *next;
};

static void program_release(struct program *program)
{
    if (--program->references == 0)
        free(program);
}

/* --- waiting ------------------------------------------------------------------------------------- */

static double milliseconds(const struct timeval *time)
{
    return (double)time->tv_sec * 1000 + (double)(time->tv_usec / 1000);
}

static void set_number(lua_State *L, const char *name, double value)
{
    lua_pushnumber(L, value);
    lua_setfield(L, -2, name);
}

static void set_boolean(lua_State *L, const char *name, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, name);
}

static int push_ending(lua_State *L, const struct process_end *end)
{
    lua_createtable(L, 0, 9);
    if (end->code >= 0)
        set_number(L, "code", end->code);
    else
        set_number(L, "signal", end->signal);
    set_number(L, "cpu_ms", milliseconds(&end->usage.ru_utime) + milliseconds(&end->usage.ru_stime));
    set_number(L, "max_rss", (double)end->usage.ru_maxrss * 1024);
    set_number(L, "started", (double)end->started_ms);
    set_number(L, "ended", (double)end->ended_ms);
    set_number(L, "emptied", (double)end->emptied_ms);
    set_number(L, "strays", end->strays);
    set_boolean(L, "stopped", end->stopped);
    set_boolean(L, "killed", end->killed);
    return 1;
}

static int wait_push(lua_State *L, struct request *request)
{
    return push_ending(L, &((struct wait *)request)->program->end);
}

static void wait_cancel(struct request *request)
{
    struct wait *wait = (struct wait *)request;
    struct wait **link = &wait->program->waits;
    struct err err;
    while (*link != wait)
        link = &(*link)->next;
    *link = wait->next;
    err_set(&err, ERR_TASK_CANCELLED, "cancelled");
    request_complete(request, &err);
}

static void wait_release(struct request *request)
{
    struct wait *wait = (struct wait *)request;
    program_release(wait->program);
    free(wait);
}

static const struct request_type wait_type = {
    .name = "process:wait", .push = wait_push, .cancel = wait_cancel, .release = wait_release};

static struct program *check_program(lua_State *L)
{
    return *(struct program **)luaL_checkudata(L, 1, PROGRAM_TYPE);
}

static int process_wait(lua_State *L)
{
    struct program *program = check_program(L);
    struct task *task = request_task(L, wait_type.name);
    struct err err;
    if (task_failing(task, &err))
        return lua_err_return(L, &err);
    if (!program->process)
        return push_ending(L, &program->end);
    struct wait *wait = FAULT("process.wait") ? NULL : calloc(1, sizeof *wait);
    if (!wait) {
        err_set(&err, ERR_NO_MEMORY, "waiting for process %d: out of memory", (int)program->pid);
        return lua_err_return(L, &err);
    }
    request_init(&wait->request, &wait_type, task);
    wait->program = program;
    wait->next = program->waits;
    program->waits = wait;
    program->references++;
    return request_yield(L, &wait->request);
}

static void program_ended(struct process *process, const struct process_end *end, void *arg)
{
    struct program *program = arg;
    (void)process;
    program->process = NULL;
    program->end = *end;
    for (struct wait *wait = program->waits, *next; wait; wait = next) {
        next = wait->next;
        request_complete(&wait->request, NULL);
    }
    program->waits = NULL;
    program_release(program);
}

static void task_ended(struct task *task, lua_State *L, int nresults, const struct task_end *end, void *arg)
{
    struct program *program = arg;
    (void)task, (void)L, (void)nresults, (void)end;
    if (program->process)
        process_stop(program->process, 0);
    program_release(program);
}

static int process_stop_in_lua(lua_State *L)
{
    struct program *program = check_program(L);
    lua_Number grace = luaL_checknumber(L, 2);
    luaL_argcheck(L, grace >= 0, 2, "milliseconds from 0");
    if (program->process)
        process_stop(program->process, grace < 1e15 ? (uint64_t)grace : UINT64_MAX);
    return 0;
}

static int process_index(lua_State *L)
{
    struct program *program = check_program(L);
    if (strcmp(luaL_checkstring(L, 2), "pid") == 0) {
        lua_pushinteger(L, program->pid);
        return 1;
    }
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1)); /* the methods */
    return 1;
}

static int process_gc(lua_State *L)
{
    struct program **program = lua_touserdata(L, 1);
    if (*program)
        program_release(*program);
    *program = NULL;
    return 0;
}

/* --- starting ------------------------------------------------------------------------------------ */

/* Everything that the options point to lies in Lua's memory, below the top of the stack, until the call
 * returns. */
struct options {
    struct spawn spawn;
    struct process_limit limits[LIMITS_MAX];
    const char *output, *dir_path;
};

/* Is the string at the top one that a program can be given? No NUL can be within. */
static bool is_plain(lua_State *L, int idx)
{
    return strlen(lua_tostring(L, idx)) == lua_objlen(L, idx);
}

static int refuse(struct err *err, const char *path, const char *what, const char *name)
{
    err_set(err, ERR_PROCESS_SPAWN, "%s: %s%s can not be given to a program", path, what, name);
    err->retryable = false;
    return -1;
}

/* The table at the top, whose strings stay in it. -1: err. Leaves the list (a userdata) on the stack. */
static int read_argv(lua_State *L, struct options *options, struct err *err)
{
    int table = lua_gettop(L), n = (int)lua_objlen(L, table);
    const char **argv = lua_newuserdata(L, ((size_t)n + 1) * sizeof *argv);
    luaL_argcheck(L, n > 0, 1, "argv: a list that begins with the program's name");
    for (int i = 0; i < n; i++) {
        lua_rawgeti(L, table, i + 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            return luaL_error(L, "argv[%d]: a string, not %s", i + 1, luaL_typename(L, -1));
        if (!is_plain(L, -1))
            return refuse(err, options->spawn.path, "an argument with a NUL byte", "");
        argv[i] = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    argv[n] = NULL;
    options->spawn.argv = (char *const *)argv;
    return 0;
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The table at the top; leaves "NAME=value" strings in a table, and the list, on the stack. Sorted, so that a
 * program sees the same order every time. */
static int read_env(lua_State *L, struct options *options, struct err *err)
{
    int env = lua_gettop(L), n = 0, capacity = 0;
    lua_newtable(L);
    for (lua_pushnil(L); lua_next(L, env); lua_pop(L, 1), capacity++)
        ;
    const char **envp = lua_newuserdata(L, ((size_t)capacity + 1) * sizeof *envp);
    for (lua_pushnil(L); lua_next(L, env); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
            return luaL_error(L, "env: names and values are strings");
        const char *name = lua_tostring(L, -2);
        if (!is_plain(L, -2) || *name == '\0' || strchr(name, '='))
            return refuse(err, options->spawn.path, "an environment variable of the name ", name);
        if (!is_plain(L, -1))
            return refuse(err, options->spawn.path, "a NUL byte in the environment variable ", name);
        envp[n++] = lua_pushfstring(L, "%s=%s", name, lua_tostring(L, -1));
        lua_rawseti(L, env + 1, n);
    }
    qsort(envp, (size_t)n, sizeof *envp, compare_text);
    envp[n] = NULL;
    options->spawn.envp = (char *const *)envp;
    return 0;
}

static void read_limits(lua_State *L, struct options *options)
{
    if (lua_isnil(L, -1))
        return;
    if (!lua_istable(L, -1))
        luaL_error(L, "limits: a table expected, got %s", luaL_typename(L, -1));
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        int resource = process_limit_find(name);
        lua_Number value = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : -1;
        if (resource < 0 || options->spawn.n_limits == LIMITS_MAX)
            luaL_error(L, "limits: there is none of the name %s", name);
        if (!(value >= 0))
            luaL_error(L, "limits.%s: a number from 0 expected", name);
        rlim_t limit = value < 1e15 ? (rlim_t)value : RLIM_INFINITY;
        options->limits[options->spawn.n_limits++] = (struct process_limit){resource, limit, limit};
    }
    options->spawn.limits = options->limits;
}

static const char *check_field(lua_State *L, const char *name, int type)
{
    lua_getfield(L, 1, name);
    if (lua_type(L, -1) != type)
        luaL_error(L, "%s: %s expected, got %s", name, lua_typename(L, type), luaL_typename(L, -1));
    return lua_tostring(L, -1);
}

/* The options table is at 1. Raises, or returns -1 with err for what comes from outside and no program can be
 * given. */
static int read_options(lua_State *L, struct options *options, struct err *err)
{
    *options = (struct options){.spawn = SPAWN_DEFAULT};
    luaL_checktype(L, 1, LUA_TTABLE);
    options->spawn.path = check_field(L, "path", LUA_TSTRING);
    lua_getfield(L, 1, "dir");
    const struct lua_dir *dir = lua_dir_check(L, lua_gettop(L));
    options->spawn.dir_fd = dir->fd;
    options->dir_path = dir->path;
    lua_getfield(L, 1, "output");
    options->output = luaL_optstring(L, -1, NULL);
    lua_getfield(L, 1, "grace");
    lua_Number grace = luaL_optnumber(L, -1, GRACE_DEFAULT_MS);
    luaL_argcheck(L, grace >= 0, 1, "grace: milliseconds from 0");
    options->spawn.grace_ms = (uint64_t)grace;
    lua_getfield(L, 1, "limits");
    read_limits(L, options);
    check_field(L, "argv", LUA_TTABLE);
    if (read_argv(L, options, err) < 0)
        return -1;
    check_field(L, "env", LUA_TTABLE);
    return read_env(L, options, err);
}

/* Never waits: what stands at the name may be a FIFO that an earlier attempt left. */
static int open_output(const struct options *options, struct err *err)
{
    struct stat stat;
    int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    int fd = FAULT("process.output") ? (errno = EIO, -1)
                                     : openat(options->spawn.dir_fd, options->output, flags, 0600);
    if (fd >= 0 && fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode) && fcntl(fd, F_SETFL, O_APPEND) == 0)
        return fd;
    int sys = fd < 0 ? errno : ELOOP;
    if (fd >= 0)
        close(fd);
    const char *slash = *options->dir_path ? "/" : "";
    return err_set_file(err, sys, "%s%s%s", options->dir_path, slash, options->output);
}

static struct program *program_start(struct supervisor *supervisor, struct options *options, struct err *err)
{
    struct program *program = FAULT("process.program") ? NULL : calloc(1, sizeof *program);
    if (!program) {
        err_set(err, ERR_NO_MEMORY, "%s: out of memory", options->spawn.path);
        return NULL;
    }
    if (options->output && (options->spawn.out_fd = open_output(options, err)) < 0) {
        free(program);
        return NULL;
    }
    options->spawn.on_end = program_ended;
    options->spawn.arg = program;
    program->process = process_spawn(supervisor, &options->spawn, err);
    if (options->output)
        close(options->spawn.out_fd);
    if (!program->process) {
        free(program);
        return NULL;
    }
    program->pid = process_pid(program->process);
    return program;
}

static int spawn_in_lua(lua_State *L)
{
    struct task *task = task_current(L);
    struct options options;
    struct err err;
    if (!task)
        return luaL_error(L, "host.process.spawn starts programs only inside a task");
    if (read_options(L, &options, &err) < 0 || task_failing(task, &err))
        return lua_err_return(L, &err);
    struct program **handle = lua_newuserdata(L, sizeof *handle);
    *handle = NULL;
    luaL_getmetatable(L, PROGRAM_TYPE);
    lua_setmetatable(L, -2);
    struct program *program = program_start(host_get(L)->supervisor, &options, &err);
    if (!program)
        return lua_err_return(L, &err);
    *handle = program;
    program->references = 3; /* the handle, the process, the task */
    task_on_end(task, task_ended, program);
    return 1;
}

/* --- dead runs ----------------------------------------------------------------------------------- */

struct ending_run {
    struct blocking blocking;
    char run[33];
    uint64_t limit_ms;
    int count;
};

static int end_run_run(struct blocking *blocking, struct err *err)
{
    struct ending_run *ending = (struct ending_run *)blocking;
    ending->count = process_end_run(ending->run, ending->limit_ms, err);
    return ending->count < 0 ? -1 : 0;
}

static int end_run_push(lua_State *L, struct request *request)
{
    lua_pushinteger(L, ((struct ending_run *)request)->count);
    return 1;
}

static void end_run_release(struct request *request)
{
    free(request);
}

static const struct request_type end_run_type = {
    .name = "host.process.end_run", .push = end_run_push, .release = end_run_release};

static int end_run_in_lua(lua_State *L)
{
    size_t size;
    const char *run = luaL_checklstring(L, 1, &size);
    lua_Number limit = luaL_checknumber(L, 2);
    luaL_argcheck(
        L, size > 0 && size < sizeof((struct ending_run *)0)->run && strspn(run, "0123456789abcdef") == size,
        1, "the digits of a run");
    luaL_argcheck(L, limit >= 0 && limit < 1e15, 2, "milliseconds from 0");
    struct ending_run *ending = FAULT("process.end_run") ? NULL : calloc(1, sizeof *ending);
    if (!ending) {
        struct err err;
        err_set(&err, ERR_NO_MEMORY, "ending run %s: out of memory", run);
        return lua_err_return(L, &err);
    }
    memcpy(ending->run, run, size);
    ending->limit_ms = (uint64_t)limit;
    ending->blocking.run = end_run_run;
    return blocking_yield(L, &end_run_type, &ending->blocking);
}

int luaopen_host_process(lua_State *L)
{
    static const luaL_Reg methods[] = {{"wait", process_wait}, {"stop", process_stop_in_lua}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"spawn", spawn_in_lua}, {"end_run", end_run_in_lua}, {NULL, NULL}};
    luaL_newmetatable(L, PROGRAM_TYPE);
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_pushcclosure(L, process_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, process_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
