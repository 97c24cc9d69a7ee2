/* The door host.file: directory handles and everything on names that does not wait. host/README.md lists the
 * calls. */
#include "file/lua_file.h"

#include <fcntl.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file/content.h"
#include "lua/doors.h"
#include "lua/lua_err.h"

#define DIR_TYPE "host.file.dir"
#define LOCK_TYPE "host.file.lock"
#define SCRATCH_TYPE "host.file.scratch"
#define EXACT_MAX 9007199254740992.0 /* 2^53: integers up to here are exact in Lua */

/* --- arguments and answers ------------------------------------------------------------------- */

struct dir *lua_file_dir(lua_State *L, int idx)
{
    struct dir *dir = luaL_checkudata(L, idx, DIR_TYPE);
    if (dir->fd == -1)
        luaL_argerror(L, idx, "this directory handle is closed");
    return dir;
}

bool lua_file_name(lua_State *L, int idx, const char **name, struct err *err)
{
    size_t size;
    *name = luaL_checklstring(L, idx, &size);
    if (memchr(*name, '\0', size)) {
        err_set(err, ERR_FILE_BAD_NAME, "%s: a file name holds no NUL byte", *name);
        return false;
    }
    size_t kept = size;
    while (kept > 1 && (*name)[kept - 1] == '/')
        kept--;
    if (kept < size) {
        lua_pushlstring(L, *name, kept);
        lua_replace(L, idx);
        *name = lua_tostring(L, idx);
    }
    return true;
}

int lua_file_answer(lua_State *L, int status, const struct err *err)
{
    if (status == -1)
        return lua_err_return(L, err);
    lua_pushboolean(L, 1);
    return 1;
}

static unsigned check_mode(lua_State *L, int idx)
{
    if (lua_type(L, idx) == LUA_TSTRING) { /* "0600": Lua has no octal numbers */
        const char *text = lua_tostring(L, idx);
        char *end;
        unsigned long mode = strtoul(text, &end, 8);
        luaL_argcheck(L, *text >= '0' && *text <= '7' && !*end && mode <= 07777, idx, "a mode as octal text");
        return (unsigned)mode;
    }
    lua_Number mode = luaL_checknumber(L, idx);
    luaL_argcheck(L, mode >= 0 && mode <= 07777, idx, "a mode from 0 to 4095 (octal 7777)");
    return (unsigned)mode;
}

static uint64_t check_bytes(lua_State *L, int idx)
{
    lua_Number bytes = luaL_checknumber(L, idx);
    luaL_argcheck(L, bytes >= 0 && bytes <= EXACT_MAX, idx, "a number of bytes from 0");
    return (uint64_t)bytes;
}

void lua_file_type(lua_State *L, const char *type, const luaL_Reg *methods, lua_CFunction gc)
{
    luaL_newmetatable(L, type);
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

/* Memory of a call that must survive a Lua error while its results are pushed: the collector frees it then.
 */
struct scratch {
    struct buffer text;
    struct dir_list list;
};

static void scratch_free(struct scratch *scratch)
{
    buffer_free(&scratch->text);
    dir_list_free(&scratch->list);
}

static int scratch_gc(lua_State *L)
{
    scratch_free(lua_touserdata(L, 1));
    return 0;
}

static struct scratch *push_scratch(lua_State *L)
{
    struct scratch *scratch = lua_newuserdata(L, sizeof *scratch);
    *scratch = (struct scratch){0};
    luaL_getmetatable(L, SCRATCH_TYPE);
    lua_setmetatable(L, -2);
    return scratch;
}

/* Pushes the text of a read, or nil and the error. */
static int answer_text(lua_State *L, struct scratch *scratch, int status, const struct err *err)
{
    if (status == 0)
        lua_pushlstring(L, scratch->text.data ? scratch->text.data : "", scratch->text.size);
    scratch_free(scratch);
    return status == 0 ? 1 : lua_err_return(L, err);
}

/* --- handles --------------------------------------------------------------------------------- */

static struct dir *push_dir(lua_State *L)
{
    struct dir *dir = lua_newuserdata(L, sizeof *dir);
    *dir = DIR_CLOSED;
    luaL_getmetatable(L, DIR_TYPE);
    lua_setmetatable(L, -2);
    return dir;
}

static int l_open(lua_State *L)
{
    struct dir *dir = lua_file_dir(L, 1);
    const char *name;
    struct err err;
    if (!lua_file_name(L, 2, &name, &err))
        return lua_err_return(L, &err);
    if (dir_open(dir, name, push_dir(L), &err) == -1)
        return lua_err_return(L, &err);
    return 1;
}

static int l_close(lua_State *L)
{
    struct dir *dir = luaL_checkudata(L, 1, DIR_TYPE);
    luaL_argcheck(L, dir->fd != AT_FDCWD, 1, "host.file.root is everybody's: it stays open");
    dir_close(dir);
    return 0;
}

static int dir_gc(lua_State *L)
{
    dir_close(lua_touserdata(L, 1));
    return 0;
}

static int l_path(lua_State *L)
{
    lua_pushstring(L, lua_file_dir(L, 1)->path);
    return 1;
}

/* --- looking --------------------------------------------------------------------------------- */

static void set_number(lua_State *L, const char *field, lua_Number value)
{
    lua_pushnumber(L, value);
    lua_setfield(L, -2, field);
}

/* As text: an inode number may need all of its 64 bits. */
static void set_identity(lua_State *L, const char *field, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    lua_pushstring(L, text);
    lua_setfield(L, -2, field);
}

static void push_stat(lua_State *L, const struct file_stat *stat)
{
    static const char *const kinds[] = {"file", "directory", "link", "other"};
    lua_createtable(L, 0, 9);
    lua_pushstring(L, kinds[stat->kind]);
    lua_setfield(L, -2, "kind");
    set_number(L, "size", (lua_Number)stat->size);
    set_number(L, "mtime", (lua_Number)stat->mtime_ms);
    set_identity(L, "inode", stat->inode);
    set_identity(L, "device", stat->device);
    set_number(L, "links", (lua_Number)stat->links);
    set_number(L, "mode", stat->mode);
    set_number(L, "uid", stat->uid);
}

static int l_stat(lua_State *L)
{
    struct dir *dir = lua_file_dir(L, 1);
    const char *name = NULL;
    struct file_stat stat;
    struct err err;
    if (!lua_isnoneornil(L, 2) && !lua_file_name(L, 2, &name, &err))
        return lua_err_return(L, &err);
    if (dir_stat(dir, name, &stat, &err) == -1)
        return lua_err_return(L, &err);
    push_stat(L, &stat);
    return 1;
}

static int l_list(lua_State *L)
{
    struct dir *dir = lua_file_dir(L, 1);
    struct scratch *scratch = push_scratch(L);
    struct err err;
    if (dir_list(dir, &scratch->list, &err) == -1) {
        scratch_free(scratch);
        return lua_err_return(L, &err);
    }
    lua_createtable(L, (int)scratch->list.n, 0);
    for (size_t i = 0; i < scratch->list.n; i++) {
        push_stat(L, &scratch->list.entries[i].stat);
        lua_pushstring(L, scratch->list.entries[i].name);
        lua_setfield(L, -2, "name");
        lua_rawseti(L, -2, (int)i + 1);
    }
    scratch_free(scratch);
    return 1;
}

static int l_read(lua_State *L)
{
    struct dir *dir = lua_file_dir(L, 1);
    const char *name;
    struct err err;
    uint64_t max = check_bytes(L, 3);
    if (!lua_file_name(L, 2, &name, &err))
        return lua_err_return(L, &err);
    struct scratch *scratch = push_scratch(L);
    return answer_text(L, scratch, dir_read(dir, name, max, &scratch->text, &err), &err);
}

static int l_read_at(lua_State *L)
{
    struct dir *dir = lua_file_dir(L, 1);
    const char *name;
    struct err err;
    uint64_t offset = check_bytes(L, 3), max = check_bytes(L, 4);
    if (!lua_file_name(L, 2, &name, &err))
        return lua_err_return(L, &err);
    struct scratch *scratch = push_scratch(L);
    return answer_text(L, scratch, dir_read_at(dir, name, offset, max, &scratch->text, &err), &err);
}

static int l_readlink(lua_State *L)
{
    struct dir *dir = lua_file_dir(L, 1);
    const char *name;
    struct err err;
    char target[4096];
    if (!lua_file_name(L, 2, &name, &err) || dir_readlink(dir, name, target, &err) == -1)
        return lua_err_return(L, &err);
    lua_pushstring(L, target);
    return 1;
}

/* --- changing -------------------------------------------------------------------------------- */

static int l_create(lua_State *L)
{
    struct dir *dir = lua_file_dir(L, 1);
    size_t size;
    const char *name, *text = luaL_checklstring(L, 3, &size);
    unsigned mode = check_mode(L, 4);
    struct err err;
    if (!lua_file_name(L, 2, &name, &err))
        return lua_err_return(L, &err);
    return lua_file_answer(L, dir_create(dir, name, text, size, mode, &err), &err);
}

static int l_replace(lua_State *L)
{
    struct dir *dir = lua_file_dir(L, 1);
    size_t size;
    const char *name, *text = luaL_checklstring(L, 3, &size);
    unsigned mode = lua_isnoneornil(L, 4) ? MODE_KEEP : check_mode(L, 4);
    struct dir *temporary = lua_isnoneornil(L, 5) ? NULL : lua_file_dir(L, 5);
    struct err err;
    if (!lua_file_name(L, 2, &name, &err))
        return lua_err_return(L, &err);
    return lua_file_answer(L, dir_replace(dir, name, text, size, mode, temporary, &err), &err);
}

static int l_append(lua_State *L)
{
    struct dir *dir = lua_file_dir(L, 1);
    size_t size;
    const char *name, *text = luaL_checklstring(L, 3, &size);
    unsigned mode = check_mode(L, 4);
    struct err err;
    if (!lua_file_name(L, 2, &name, &err))
        return lua_err_return(L, &err);
    return lua_file_answer(L, dir_append(dir, name, text, size, mode, &err), &err);
}

static int on_pair(lua_State *L, int (*call)(const struct dir *, const char *, const struct dir *,
                                             const char *, struct err *))
{
    struct dir *dir = lua_file_dir(L, 1), *to = lua_file_dir(L, 3);
    const char *name, *to_name;
    struct err err;
    if (!lua_file_name(L, 2, &name, &err) || !lua_file_name(L, 4, &to_name, &err))
        return lua_err_return(L, &err);
    return lua_file_answer(L, call(dir, name, to, to_name, &err), &err);
}

static int l_rename(lua_State *L)
{
    return on_pair(L, dir_rename);
}

static int l_rename_exclusive(lua_State *L)
{
    return on_pair(L, dir_rename_exclusive);
}

static int l_link(lua_State *L)
{
    return on_pair(L, dir_link);
}

static int l_symlink(lua_State *L)
{
    struct dir *dir = lua_file_dir(L, 1);
    const char *target = luaL_checkstring(L, 2), *name;
    struct err err;
    if (!lua_file_name(L, 3, &name, &err))
        return lua_err_return(L, &err);
    return lua_file_answer(L, dir_symlink(dir, target, name, &err), &err);
}

static int on_name(lua_State *L, int (*call)(const struct dir *, const char *, struct err *))
{
    struct dir *dir = lua_file_dir(L, 1);
    const char *name;
    struct err err;
    if (!lua_file_name(L, 2, &name, &err))
        return lua_err_return(L, &err);
    return lua_file_answer(L, call(dir, name, &err), &err);
}

static int l_unlink(lua_State *L)
{
    return on_name(L, dir_unlink);
}

static int l_rmdir(lua_State *L)
{
    return on_name(L, dir_rmdir);
}

static int on_mode(lua_State *L, int (*call)(const struct dir *, const char *, unsigned, struct err *))
{
    struct dir *dir = lua_file_dir(L, 1);
    unsigned mode = check_mode(L, 3);
    const char *name;
    struct err err;
    if (!lua_file_name(L, 2, &name, &err))
        return lua_err_return(L, &err);
    return lua_file_answer(L, call(dir, name, mode, &err), &err);
}

static int l_mkdir(lua_State *L)
{
    return on_mode(L, dir_mkdir);
}

static int l_make_path(lua_State *L)
{
    return on_mode(L, dir_make_path);
}

static int l_chmod(lua_State *L)
{
    return on_mode(L, dir_chmod);
}

static int l_touch(lua_State *L)
{
    struct dir *dir = lua_file_dir(L, 1);
    lua_Number mtime = luaL_checknumber(L, 3);
    luaL_argcheck(L, mtime >= -EXACT_MAX && mtime <= EXACT_MAX, 3, "milliseconds since 1970");
    const char *name;
    struct err err;
    if (!lua_file_name(L, 2, &name, &err))
        return lua_err_return(L, &err);
    return lua_file_answer(L, dir_touch(dir, name, (int64_t)mtime, &err), &err);
}

/* --- locks ----------------------------------------------------------------------------------- */

static int l_lock(lua_State *L)
{
    struct dir *dir = lua_file_dir(L, 1);
    const char *name;
    struct err err;
    if (!lua_file_name(L, 2, &name, &err))
        return lua_err_return(L, &err);
    int *lock_fd = lua_newuserdata(L, sizeof *lock_fd);
    *lock_fd = -1;
    luaL_getmetatable(L, LOCK_TYPE);
    lua_setmetatable(L, -2);
    return dir_lock(dir, name, lock_fd, &err) == -1 ? lua_err_return(L, &err) : 1;
}

/* Also the collector's. */
static int lock_release(lua_State *L)
{
    int *lock_fd = luaL_checkudata(L, 1, LOCK_TYPE);
    file_unlock(*lock_fd);
    *lock_fd = -1;
    return 0;
}

/* --------------------------------------------------------------------------------------------------------------
 */

int luaopen_host_file(lua_State *L)
{
    static const luaL_Reg methods[] = {{"open", l_open},
                                       {"close", l_close},
                                       {"path", l_path},
                                       {"stat", l_stat},
                                       {"list", l_list},
                                       {"read", l_read},
                                       {"read_at", l_read_at},
                                       {"readlink", l_readlink},
                                       {"create", l_create},
                                       {"replace", l_replace},
                                       {"append", l_append},
                                       {"rename", l_rename},
                                       {"rename_exclusive", l_rename_exclusive},
                                       {"link", l_link},
                                       {"symlink", l_symlink},
                                       {"unlink", l_unlink},
                                       {"rmdir", l_rmdir},
                                       {"mkdir", l_mkdir},
                                       {"make_path", l_make_path},
                                       {"chmod", l_chmod},
                                       {"touch", l_touch},
                                       {"lock", l_lock},
                                       {"remove_tree", lua_file_remove_tree},
                                       {"tree_size", lua_file_tree_size},
                                       {"copy", lua_file_copy},
                                       {"watch", lua_file_watch},
                                       {NULL, NULL}};
    static const luaL_Reg lock_methods[] = {{"release", lock_release}, {NULL, NULL}};
    static const luaL_Reg no_methods[] = {{NULL, NULL}};
    lua_file_type(L, DIR_TYPE, methods, dir_gc);
    lua_file_type(L, LOCK_TYPE, lock_methods, lock_release);
    lua_file_type(L, SCRATCH_TYPE, no_methods, scratch_gc);
    lua_file_watch_types(L);
    lua_newtable(L);
    struct err err;
    if (dir_open_root(push_dir(L), &err) == -1)
        return luaL_error(L, "%s", err.message);
    lua_setfield(L, -2, "root");
    return 1;
}
