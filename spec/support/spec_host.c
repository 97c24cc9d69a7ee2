/* spec-host: runs busted specs inside one task of a whole host, as `busted` itself would be called:
 *
 *     spec-host spec/unit/scope_spec.lua …          spec-host --filter=cancel spec/unit
 *
 * Specs see all standard libraries, the table `host` and the globals of spec_host_tools.c. At the end no
 * task, request, open file or child process may be left. The exit status is the number of failures, at most
 * 125. */
#include <errno.h>
#include <dirent.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "account/account.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "base/worker.h"
#include "lua/host.h"
#include "lua/task.h"
#include "process/process.h"
#include "spec_host.h"

struct spec_host {
    struct host host;
    uv_loop_t loop;
    uv_async_t wake;
    struct mailbox mailbox;
    lua_State *L;
    bool ended;
    int failures;
};

static const char run_busted[] = "local compatibility = require 'busted.compatibility'\n"
                                 "compatibility.exit = function(code) error({spec_exit = code}, 0) end\n"
                                 "local ok, err = pcall(require('busted.runner'), {standalone = false})\n"
                                 "if ok then return 0 end\n"
                                 "if type(err) == 'table' and err.spec_exit then return err.spec_exit end\n"
                                 "io.stderr:write('spec-host: ', tostring(err), '\\n')\n"
                                 "return 1\n";

static void fatal(const char *what, const char *why)
{
    fprintf(stderr, "spec-host: %s: %s\n", what, why);
    exit(125);
}

size_t spec_open_files(void)
{
    size_t n = 0;
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL)
        fatal("/proc/self/fd", strerror(errno));
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

size_t spec_children(void)
{
    siginfo_t info;
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 ? 1 : 0;
}

static void wake_loop(void *arg)
{
    uv_async_send(arg);
}

static void drain_mailbox(uv_async_t *async)
{
    mailbox_drain(async->data);
}

/* A small host, the same on every machine. */
static struct account *make_account(void)
{
    struct err err;
    const struct capacity capacity = {
        .total = {.cores = 2, .mem = UINT64_C(8) << 30, .disk = UINT64_C(8) << 30},
        .why = "spec-host says so"};
    struct account *account = account_create(&capacity, &err);
    if (account == NULL)
        fatal("account", err.message);
    return account;
}

static void set_up(struct spec_host *spec, const char *home)
{
    struct err err;
    log_configure(STDERR_FILENO, LOG_JSON, LOG_ERROR);
    uv_loop_init(&spec->loop);
    uv_async_init(&spec->loop, &spec->wake, drain_mailbox);
    spec->wake.data = &spec->mailbox;
    spec->L = luaL_newstate();
    luaL_openlibs(spec->L);
    spec->host = (struct host){
        .loop = &spec->loop, .mailbox = &spec->mailbox, .home = home, .account = make_account()};
    if (mailbox_init(&spec->mailbox, wake_loop, &spec->wake, &err) != 0)
        fatal("mailbox", err.message);
    spec->host.workers = worker_pool_create(&spec->mailbox, 0, &err);
    if (spec->host.workers == NULL)
        fatal("workers", err.message);
    spec->host.supervisor = supervisor_create(&spec->loop, spec->host.workers, &err);
    if (spec->host.supervisor == NULL)
        fatal("supervisor", err.message);
    spec->host.engine = engine_create(spec->L, &spec->loop, &(struct engine_limits){0}, &err);
    if (spec->host.engine == NULL)
        fatal("engine", err.message);
    host_set(spec->L, &spec->host);
    host_open(spec->L);
    spec_tools_open(spec->L);
}

static void set_globals(lua_State *L, int argc, char **argv, const char *home)
{
    lua_createtable(L, argc, 0);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i);
    }
    lua_setglobal(L, "arg");
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "path");
    lua_pushfstring(L, "%s/lualib/?.lua;%s/spec/support/?.lua;%s", home, home, lua_tostring(L, -1));
    lua_setfield(L, -3, "path");
    lua_pop(L, 2);
}

static void root_ended(struct task *task, lua_State *L, int nresults, const struct task_end *end, void *arg)
{
    struct spec_host *spec = arg;
    (void)task;
    spec->ended = true;
    spec->failures = nresults > 0 ? (int)lua_tointeger(L, 1) : 1;
    if (end->failed)
        fprintf(stderr, "spec-host: %s\n", end->traceback);
}

static void run(struct spec_host *spec)
{
    struct err err;
    if (luaL_loadbuffer(spec->L, run_busted, sizeof run_busted - 1, "@spec-host") != 0)
        fatal("chunk", lua_tostring(spec->L, -1));
    struct task *root =
        task_start(spec->host.engine, spec->L, 0, &(struct task_options){.name = "specs"}, &err);
    if (root == NULL)
        fatal("task", err.message);
    task_on_end(root, root_ended, spec);
    while (!spec->ended || supervisor_count(spec->host.supervisor) > 0)
        uv_run(&spec->loop, UV_RUN_ONCE);
}

static bool nothing_is_left(struct spec_host *spec, size_t files_before)
{
    struct engine_counts counts = engine_count(spec->host.engine);
    lua_gc(spec->L, LUA_GCCOLLECT, 0);
    lua_gc(spec->L, LUA_GCCOLLECT, 0);
    size_t files = spec_open_files(), children = spec_children();
    if (counts.tasks + counts.requests + counts.ready + children == 0 && files == files_before)
        return true;
    fprintf(
        stderr,
        "spec-host: left at the end: %zu tasks, %zu requests, %zu children, %zu open files (%zu before)\n",
        counts.tasks, counts.requests, children, files, files_before);
    return false;
}

static void tear_down(struct spec_host *spec)
{
    while (worker_pool_pending(spec->host.workers) > 0)
        uv_run(&spec->loop, UV_RUN_ONCE);
    supervisor_destroy(spec->host.supervisor);
    worker_pool_destroy(spec->host.workers);
    mailbox_close(&spec->mailbox);
    mailbox_drain(&spec->mailbox);
    mailbox_fini(&spec->mailbox);
    engine_destroy(spec->host.engine);
    lua_close(spec->L);
    uv_close((uv_handle_t *)&spec->wake, NULL);
    uv_run(&spec->loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&spec->loop) != 0)
        fatal("loop", "a handle was left open");
    account_destroy(spec->host.account);
}

int main(int argc, char **argv)
{
    static struct spec_host spec;
    const char *home = getenv("MOONRUNNER_HOME");
    home = home != NULL ? home : ".";
    set_up(&spec, home);
    set_globals(spec.L, argc, argv, home);
    uv_run(&spec.loop, UV_RUN_NOWAIT); /* the loop opens what it needs for itself */
    size_t files_before = spec_open_files();
    run(&spec);
    fflush(stdout);
    bool clean = nothing_is_left(&spec, files_before);
    int failures = spec.failures + (clean ? 0 : 1);
    if (!clean) {
        fflush(NULL);
        _exit(failures > 125 ? 125 : failures); /* what is left would only be reported once more */
    }
    tear_down(&spec);
    return failures > 125 ? 125 : failures;
}
