/* The waiting calls of host.file: whole trees and big files, on a worker. */
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "file/content.h"
#include "file/lua_file.h"
#include "file/tree.h"
#include "lua/lua_err.h"
#include "lua/request.h"

/* Handles and names of its own: the Lua values may be closed or collected while the worker runs. */
struct file_work {
    struct blocking blocking;
    struct dir dir, to;
    char *name, *to_name;
    struct tree_size size;
};

static void work_free(struct file_work *work)
{
    dir_close(&work->dir);
    dir_close(&work->to);
    free(work->name);
    free(work->to_name);
    free(work);
}

static void work_release(struct request *request)
{
    work_free((struct file_work *)request);
}

static char *copy_name(const char *name)
{
    return FAULT("file.memory") ? NULL : strdup(name);
}

/* Copies of arguments 1 and 2, and for `pair` of 3 and 4. NULL: err says why. `type` names the call. */
static struct file_work *work_create(lua_State *L, const struct request_type *type, bool pair,
                                     struct err *err)
{
    request_task(L, type->name);
    struct dir *dir = lua_file_dir(L, 1), *to = pair ? lua_file_dir(L, 3) : NULL;
    const char *name, *to_name = NULL;
    if (!lua_file_name(L, 2, &name, err) || (pair && !lua_file_name(L, 4, &to_name, err)))
        return NULL;
    struct file_work *work = FAULT("file.memory") ? NULL : calloc(1, sizeof *work);
    if (!work) {
        err_set(err, ERR_NO_MEMORY, "no memory for %s", type->name);
        return NULL;
    }
    work->dir = work->to = DIR_CLOSED;
    work->name = copy_name(name);
    work->to_name = pair ? copy_name(to_name) : NULL;
    bool failed = !work->name || (pair && !work->to_name);
    if (failed)
        err_set(err, ERR_NO_MEMORY, "no memory for %s", type->name);
    if (failed || dir_duplicate(dir, &work->dir, err) == -1 ||
        (pair && dir_duplicate(to, &work->to, err) == -1)) {
        work_free(work);
        return NULL;
    }
    return work;
}

static int start(lua_State *L, const struct request_type *type, bool pair,
                 int (*run)(struct blocking *, struct err *))
{
    struct err err;
    struct file_work *work = work_create(L, type, pair, &err);
    if (!work)
        return lua_err_return(L, &err);
    work->blocking.run = run;
    return blocking_yield(L, type, &work->blocking);
}

static int push_true(lua_State *L, struct request *request)
{
    (void)request;
    lua_pushboolean(L, 1);
    return 1;
}

/* --- remove_tree ----------------------------------------------------------------------------- */

static const struct request_type remove_type = {
    .name = "dir:remove_tree", .push = push_true, .release = work_release};

static int remove_run(struct blocking *blocking, struct err *err)
{
    struct file_work *work = (struct file_work *)blocking;
    return tree_remove(&work->dir, work->name, &blocking->work.cancelled, err);
}

int lua_file_remove_tree(lua_State *L)
{
    return start(L, &remove_type, false, remove_run);
}

/* --- tree_size ------------------------------------------------------------------------------- */

static int size_push(lua_State *L, struct request *request)
{
    const struct tree_size *size = &((struct file_work *)request)->size;
    lua_pushnumber(L, (lua_Number)size->bytes);
    lua_pushnumber(L, (lua_Number)size->entries);
    lua_pushnumber(L, (lua_Number)size->unread);
    return 3;
}

static const struct request_type size_type = {
    .name = "dir:tree_size", .push = size_push, .release = work_release};

static int size_run(struct blocking *blocking, struct err *err)
{
    struct file_work *work = (struct file_work *)blocking;
    return tree_measure(&work->dir, work->name, &blocking->work.cancelled, &work->size, err);
}

int lua_file_tree_size(lua_State *L)
{
    return start(L, &size_type, false, size_run);
}

/* --- copy ------------------------------------------------------------------------------------ */

static const struct request_type copy_type = {.name = "dir:copy", .push = push_true, .release = work_release};

static int copy_run(struct blocking *blocking, struct err *err)
{
    struct file_work *work = (struct file_work *)blocking;
    return dir_copy(&work->dir, work->name, &work->to, work->to_name, &blocking->work.cancelled, err);
}

int lua_file_copy(lua_State *L)
{
    return start(L, &copy_type, true, copy_run);
}
