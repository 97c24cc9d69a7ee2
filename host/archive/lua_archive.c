/* The door host.archive: unpack and pack, each as two works that meet in a pipe. host/README.md has the
 * contract.
 *
 * One work is the tree's, one the archive file's; the request completes when both are back. Whatever ends one
 * of them early aborts the pipe, and so does cancelling: the other one then fails with the same reason. */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive/archive.h"
#include "archive/ignore.h"
#include "base/fault.h"
#include "base/pipe.h"
#include "base/sha256.h"
#include "base/worker.h"
#include "lua/doors.h"
#include "lua/host.h"
#include "lua/lua_dir.h"
#include "lua/lua_err.h"
#include "lua/request.h"
#include "lua/task.h"

#define EXACT_MAX 9007199254740992.0 /* 2^53 */

/* Where a caller says nothing; he may say 0, no limit. */
#define ENTRIES_DEFAULT 1000000
#define RATIO_DEFAULT 1000

struct side {
    struct work work;
    int status;
    struct err err;
};

struct transfer {
    struct request request;
    struct side tree, file;
    unsigned running;
    struct pipe *pipe;
    int from_fd, to_fd; /* ours; AT_FDCWD for host.file.root; -1: none */
    char *from, *to;
    struct archive_limits limits;
    struct archive_pack_options options;
    char **ignore;
    size_t ignore_count;
    struct archive_result result;
};

/* --- on the workers ------------------------------------------------------------------------------------- */

static struct transfer *transfer_of_tree(struct work *work)
{
    return (struct transfer *)((char *)work - offsetof(struct transfer, tree.work));
}

static struct transfer *transfer_of_file(struct work *work)
{
    return (struct transfer *)((char *)work - offsetof(struct transfer, file.work));
}

static void run_unpack(struct work *work)
{
    struct transfer *transfer = transfer_of_tree(work);
    transfer->tree.status = archive_unpack(transfer->pipe, transfer->to_fd, transfer->to, &transfer->limits,
                                           &transfer->result, &transfer->tree.err);
}

static void run_feed(struct work *work)
{
    struct transfer *transfer = transfer_of_file(work);
    transfer->file.status =
        archive_feed_file(transfer->from_fd, transfer->from, transfer->pipe, &transfer->file.err);
}

static void run_pack(struct work *work)
{
    struct transfer *transfer = transfer_of_tree(work);
    transfer->tree.status = archive_pack(transfer->from_fd, transfer->from, &transfer->options,
                                         transfer->pipe, &transfer->result, &transfer->tree.err);
}

static void run_keep(struct work *work)
{
    struct transfer *transfer = transfer_of_file(work);
    transfer->file.status =
        archive_keep_file(transfer->pipe, transfer->to_fd, transfer->to, &transfer->file.err);
}

static bool is_ignored(const char *relative, bool is_folder, void *arg)
{
    struct transfer *transfer = arg;
    for (size_t i = 0; i < transfer->ignore_count; i++)
        if (ignore_matches(transfer->ignore[i], relative, is_folder))
            return true;
    return false;
}

/* --- the request ---------------------------------------------------------------------------------------- */

static void one_side_done(struct transfer *transfer)
{
    if (--transfer->running > 0)
        return;
    const struct err *why = transfer->tree.status   ? &transfer->tree.err
                            : transfer->file.status ? &transfer->file.err
                                                    : NULL;
    request_complete(&transfer->request, why);
}

static void tree_done(struct work *work)
{
    one_side_done(transfer_of_tree(work));
}

static void file_done(struct work *work)
{
    one_side_done(transfer_of_file(work));
}

static void transfer_cancel(struct request *request)
{
    struct err why;
    err_set(&why, ERR_TASK_CANCELLED, "cancelled");
    pipe_abort(((struct transfer *)request)->pipe, &why);
}

static void close_own(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void transfer_free(struct transfer *transfer)
{
    pipe_destroy(transfer->pipe);
    close_own(transfer->from_fd);
    close_own(transfer->to_fd);
    free(transfer->from);
    free(transfer->to);
    for (size_t i = 0; i < transfer->ignore_count; i++)
        free(transfer->ignore[i]);
    free(transfer->ignore);
    free(transfer);
}

static void transfer_release(struct request *request)
{
    transfer_free((struct transfer *)request);
}

static void set_number(lua_State *L, const char *name, uint64_t value)
{
    lua_pushnumber(L, (lua_Number)value);
    lua_setfield(L, -2, name);
}

static int transfer_push(lua_State *L, struct request *request)
{
    const struct archive_result *result = &((struct transfer *)request)->result;
    char hex[65];
    lua_createtable(L, 0, 6);
    set_number(L, "bytes_packed", result->bytes_packed);
    set_number(L, "bytes_unpacked", result->bytes_unpacked);
    set_number(L, "entries", result->entries);
    set_number(L, "skipped", result->skipped);
    sha256_to_hex(result->sha256, hex);
    lua_pushstring(L, hex);
    lua_setfield(L, -2, "sha256");
    lua_pushboolean(L, result->single_file);
    lua_setfield(L, -2, "single_file");
    return 1;
}

static const struct request_type unpack_type = {.name = "host.archive.unpack",
                                                .push = transfer_push,
                                                .cancel = transfer_cancel,
                                                .release = transfer_release};
static const struct request_type pack_type = {.name = "host.archive.pack",
                                              .push = transfer_push,
                                              .cancel = transfer_cancel,
                                              .release = transfer_release};

/* --- arguments: all that may raise comes before anything is allocated ------------------------------------
 */

/* Index 1 is the table of arguments. The value of a field stays on the stack, which keeps it alive. */
static const struct lua_dir *check_dir(lua_State *L, const char *field)
{
    lua_getfield(L, 1, field);
    if (lua_isnil(L, -1))
        luaL_error(L, "%s: a directory handle is missing", field);
    return lua_dir_check(L, lua_gettop(L));
}

static const char *check_text(lua_State *L, const char *field)
{
    lua_getfield(L, 1, field);
    if (lua_type(L, -1) != LUA_TSTRING || strlen(lua_tostring(L, -1)) != lua_objlen(L, -1))
        luaL_error(L, "%s: should be text without NUL bytes", field);
    return lua_tostring(L, -1);
}

static double opt_number(lua_State *L, const char *field, double otherwise)
{
    lua_getfield(L, 1, field);
    double value = lua_isnil(L, -1) ? otherwise : lua_tonumber(L, -1);
    if ((!lua_isnil(L, -1) && lua_type(L, -1) != LUA_TNUMBER) || !(value >= 0 && value <= EXACT_MAX))
        luaL_error(L, "%s: should be a number from 0 on", field);
    lua_pop(L, 1);
    return value;
}

/* Pushes the list (or an empty one) and returns how many patterns it has. */
static size_t check_patterns(lua_State *L, const char *field)
{
    lua_getfield(L, 1, field);
    if (lua_isnil(L, -1)) {
        lua_newtable(L);
        lua_replace(L, -2);
    }
    if (!lua_istable(L, -1))
        luaL_error(L, "%s: should be a list of patterns", field);
    size_t count = lua_objlen(L, -1);
    for (size_t i = 1; i <= count; i++) {
        lua_rawgeti(L, -1, (int)i);
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "%s: pattern %d is no text", field, (int)i);
        lua_pop(L, 1);
    }
    return count;
}

/* A misspelt limit must not become no limit. */
static void check_fields(lua_State *L, const char *const *known)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        size_t i = 0;
        while (known[i] && strcmp(known[i], name))
            i++;
        if (!known[i])
            luaL_error(L, "%s: no such argument", name);
    }
}

/* Without slashes at the end: "retval/" means what "retval" means. */
static char *copy_name(const char *name)
{
    size_t length = strlen(name);
    while (length > 1 && name[length - 1] == '/')
        length--;
    return FAULT("archive.memory") ? NULL : strndup(name, length);
}

static int duplicate(int fd)
{
    if (fd == AT_FDCWD)
        return fd;
    return FAULT("archive.open") ? (errno = EMFILE, -1) : fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/* NULL: err says why. Raises nothing. */
static struct transfer *transfer_create(const struct lua_dir *from_dir, const char *from,
                                        const struct lua_dir *to_dir, const char *to, struct err *err)
{
    struct transfer *transfer = FAULT("archive.memory") ? NULL : calloc(1, sizeof *transfer);
    if (!transfer) {
        err_set(err, ERR_NO_MEMORY, "no memory for an archive");
        return NULL;
    }
    transfer->to_fd = -1;
    transfer->from_fd = duplicate(from_dir->fd);
    if (transfer->from_fd != -1)
        transfer->to_fd = duplicate(to_dir->fd);
    int sys = errno;
    transfer->from = copy_name(from);
    transfer->to = copy_name(to);
    transfer->pipe = pipe_create(0, err);
    if (transfer->from_fd == -1 || transfer->to_fd == -1)
        err_set_file(err, sys, "%s", transfer->from_fd == -1 ? from_dir->path : to_dir->path);
    else if (!transfer->from || !transfer->to)
        err_set(err, ERR_NO_MEMORY, "no memory for an archive");
    else if (transfer->pipe)
        return transfer;
    transfer_free(transfer);
    return NULL;
}

/* Starts both works and yields. When the second can not start, the first is ended through the pipe. */
static int transfer_yield(lua_State *L, struct transfer *transfer, const struct request_type *type,
                          struct task *task)
{
    struct err err;
    struct worker_pool *workers = host_get(L)->workers;
    bool packing = type == &pack_type;
    transfer->tree.work.run = packing ? run_pack : run_unpack;
    transfer->tree.work.done = tree_done;
    transfer->file.work.run = packing ? run_keep : run_feed;
    transfer->file.work.done = file_done;
    request_init(&transfer->request, type, task);
    if (worker_submit(workers, &transfer->tree.work, &err)) {
        request_abandon(&transfer->request);
        transfer_free(transfer);
        return lua_err_return(L, &err);
    }
    transfer->running = 1;
    if (worker_submit(workers, &transfer->file.work, &err))
        pipe_abort(transfer->pipe, &err);
    else
        transfer->running = 2;
    return request_yield(L, &transfer->request);
}

/* (arguments) -> result | nil, err */
static int archive_door_unpack(lua_State *L)
{
    static const char *const known[] = {"from_dir",  "from",        "to_dir",    "to",
                                        "max_bytes", "max_entries", "max_ratio", NULL};
    struct err err;
    struct task *task = request_task(L, unpack_type.name);
    check_fields(L, known);
    const struct lua_dir *from_dir = check_dir(L, "from_dir"), *to_dir = check_dir(L, "to_dir");
    const char *from = check_text(L, "from"), *to = check_text(L, "to");
    double max_ratio = opt_number(L, "max_ratio", RATIO_DEFAULT);
    struct archive_limits limits = {.max_bytes = (uint64_t)opt_number(L, "max_bytes", 0),
                                    .max_entries = (uint64_t)opt_number(L, "max_entries", ENTRIES_DEFAULT),
                                    .max_ratio = max_ratio < 1e9 ? (unsigned)max_ratio : 0};
    if (task_failing(task, &err))
        return lua_err_return(L, &err);
    struct transfer *transfer = transfer_create(from_dir, from, to_dir, to, &err);
    if (!transfer)
        return lua_err_return(L, &err);
    transfer->limits = limits;
    return transfer_yield(L, transfer, &unpack_type, task);
}

/* The list is on top of the stack, and checked. */
static int copy_patterns(lua_State *L, struct transfer *transfer, size_t count, struct err *err)
{
    transfer->ignore = count ? calloc(count, sizeof *transfer->ignore) : NULL;
    for (size_t i = 1; transfer->ignore && i <= count; i++) {
        lua_rawgeti(L, -1, (int)i);
        char *copy = FAULT("archive.memory") ? NULL : strdup(lua_tostring(L, -1));
        lua_pop(L, 1);
        if (!copy)
            break;
        transfer->ignore[transfer->ignore_count++] = copy;
    }
    return transfer->ignore_count == count ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for an archive");
}

/* (arguments) -> result | nil, err */
static int archive_door_pack(lua_State *L)
{
    static const char *const known[] = {"from_dir", "from",        "to_dir",    "to",
                                        "ignore",   "mtime_floor", "max_bytes", NULL};
    struct err err;
    struct task *task = request_task(L, pack_type.name);
    check_fields(L, known);
    const struct lua_dir *from_dir = check_dir(L, "from_dir"), *to_dir = check_dir(L, "to_dir");
    const char *from = check_text(L, "from"), *to = check_text(L, "to");
    int64_t mtime_floor = (int64_t)opt_number(L, "mtime_floor", 0);
    uint64_t max_bytes = (uint64_t)opt_number(L, "max_bytes", 0);
    size_t patterns = check_patterns(L, "ignore");
    if (task_failing(task, &err))
        return lua_err_return(L, &err);
    struct transfer *transfer = transfer_create(from_dir, from, to_dir, to, &err);
    if (!transfer)
        return lua_err_return(L, &err);
    transfer->options = (struct archive_pack_options){
        .skip = is_ignored, .arg = transfer, .mtime_floor = mtime_floor, .max_bytes = max_bytes};
    if (copy_patterns(L, transfer, patterns, &err)) {
        transfer_free(transfer);
        return lua_err_return(L, &err);
    }
    return transfer_yield(L, transfer, &pack_type, task);
}

int luaopen_host_archive(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"pack", archive_door_pack}, {"unpack", archive_door_unpack}, {NULL, NULL}};
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
