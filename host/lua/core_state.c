/* Sets up the decision core's Lua state: its few libraries, lualib/scheduler.lua, and the policies.
 *
 * The JIT is off, and there is no library that could read a clock, a file or a random number. The policies
 * see less still, and tables of their own: what a policy overwrites, nobody else sees. */
#include "lua/core_state.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <luajit.h>
#include <lualib.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/fault.h"

enum { LARGEST_FILE = 1 << 20 };

static char core_key; /* its address is the key of the core object in the core's registry */

/* ---- files ---- */

/* Appends the whole file. 1: read; 0: it is not there; -1: err. */
static int read_file(const char *path, struct buffer *out, struct err *err)
{
    char chunk[16384];
    ssize_t got = 0;
    int fd = FAULT("scheduler.open") ? (errno = EIO, -1) : open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0)
        return err_set_file(err, errno, "%s", path);
    while (out->size <= LARGEST_FILE) {
        got = FAULT("scheduler.read") ? (errno = EIO, -1) : read(fd, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0 || buffer_add(out, chunk, (size_t)got))
            break;
    }
    int sys = errno;
    close(fd);
    if (got < 0)
        return err_set_file(err, sys, "%s", path);
    if (out->size > LARGEST_FILE)
        return err_set(err, ERR_FILE_TOO_BIG, "%s: more than %d bytes", path, LARGEST_FILE);
    return got > 0 ? err_set(err, ERR_NO_MEMORY, "%s: out of memory", path) : 1;
}

/* What open{} is given, and what may fail on the way; lives outside of the core, so that nothing of it leaks.
 */
struct setup {
    const struct core_paths *paths;
    struct buffer text;
    struct err err;
    enum err_code code; /* of an error that the core raises now */
};

/* () -> chunk. Raises when the file can not be read or is no Lua text; false: it is not there, nothing is
 * pushed. */
static bool load_file(lua_State *core, struct setup *setup, const char *folder, const char *name)
{
    char path[PATH_MAX], chunk_name[PATH_MAX + 1];

    snprintf(path, sizeof path, "%s/%s.lua", folder, name);
    snprintf(chunk_name, sizeof chunk_name, "@%s", path);
    buffer_clear(&setup->text);
    int got = read_file(path, &setup->text, &setup->err);
    if (got < 0) {
        setup->code = setup->err.code;
        luaL_error(core, "%s", setup->err.message);
    }
    if (got == 0)
        return false;
    const char *text = setup->text.data ? setup->text.data : "";
    if (luaL_loadbufferx(core, text, setup->text.size, chunk_name, "t") != 0) {
        /* A long path is cut in the message, and bytecode is refused without any. */
        if (strncmp(lua_tostring(core, -1), path, strlen(path)) != 0)
            luaL_error(core, "%s: %s", path, lua_tostring(core, -1));
        lua_error(core);
    }
    return true;
}

/* () -> module: a new instance of lualib/NAME.lua */
static void load_module(lua_State *core, struct setup *setup, const char *name)
{
    if (!load_file(core, setup, setup->paths->lualib, name))
        luaL_error(core, "%s/%s.lua: no such file", setup->paths->lualib, name);
    lua_call(core, 0, 1);
}

/* ---- the core's globals ---- */

static const char *const TRUSTED_FUNCTIONS[] = {
    "assert", "error",        "getmetatable", "ipairs",   "next", "pairs",  "pcall",
    "select", "setmetatable", "tonumber",     "tostring", "type", "unpack", NULL};
static const char *const POLICY_FUNCTIONS[] = {"assert",   "error",    "ipairs", "pairs",  "select",
                                               "tonumber", "tostring", "type",   "unpack", NULL};
static const char *const LIBRARIES[] = {"string", "table", "math", NULL};

/* (from, to) -> (from, to): the named fields */
static void copy_fields(lua_State *core, const char *const *names)
{
    for (; *names; names++) {
        lua_getfield(core, -2, *names);
        lua_setfield(core, -2, *names);
    }
}

/* (from, to) -> (from, to): copies of the libraries */
static void copy_libraries(lua_State *core)
{
    for (const char *const *name = LIBRARIES; *name; name++) {
        lua_newtable(core);
        lua_getfield(core, -3, *name);
        for (lua_pushnil(core); lua_next(core, -2);) {
            lua_pushvalue(core, -2);
            lua_insert(core, -2);
            lua_rawset(core, -5);
        }
        lua_pop(core, 1);
        lua_setfield(core, -2, *name);
    }
}

static void forget_field(lua_State *core, const char *library, const char *name)
{
    lua_getfield(core, LUA_GLOBALSINDEX, library);
    lua_pushnil(core);
    lua_setfield(core, -2, name);
    lua_pop(core, 1);
}

/* The libraries as they come; then a new table of globals that holds only what is named above. */
static void open_libraries(lua_State *core)
{
    static const luaL_Reg libraries[] = {{"", luaopen_base},
                                         {LUA_STRLIBNAME, luaopen_string},
                                         {LUA_TABLIBNAME, luaopen_table},
                                         {LUA_MATHLIBNAME, luaopen_math},
                                         {NULL, NULL}};

    luaJIT_setmode(core, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    for (const luaL_Reg *library = libraries; library->func; library++) {
        lua_pushcfunction(core, library->func);
        lua_pushstring(core, library->name);
        lua_call(core, 1, 0);
    }
    forget_field(core, "math", "random");
    forget_field(core, "math", "randomseed");
    forget_field(core, "string", "dump");
    lua_pushvalue(core, LUA_GLOBALSINDEX);
    lua_newtable(core);
    copy_fields(core, TRUSTED_FUNCTIONS);
    copy_fields(core, LIBRARIES);
    lua_replace(core, LUA_GLOBALSINDEX);
    lua_pop(core, 1);
}

/* require(name) -> module. Upvalues: the setup, the table of loaded modules. Taken away when the core is set
 * up. */
static int require_module(lua_State *core)
{
    struct setup *setup = lua_touserdata(core, lua_upvalueindex(1));
    const char *name = luaL_checkstring(core, 1);

    if (name[strspn(name, "abcdefghijklmnopqrstuvwxyz_")] != '\0')
        return luaL_error(core, "require: there is no module \"%s\" in here", name);
    lua_settop(core, 1);
    lua_pushvalue(core, 1);
    lua_rawget(core, lua_upvalueindex(2));
    if (!lua_isnil(core, -1))
        return 1;
    lua_pop(core, 1);
    load_module(core, setup, name);
    lua_pushvalue(core, 1);
    lua_pushvalue(core, -2);
    lua_rawset(core, lua_upvalueindex(2));
    return 1;
}

/* require("fit") -> the policy's own instance of it, upvalue 1 */
static int require_fit(lua_State *core)
{
    const char *name = luaL_checkstring(core, 1);

    if (strcmp(name, "fit") != 0)
        return luaL_error(core, "require: a policy can have \"fit\", not \"%s\"", name);
    lua_pushvalue(core, lua_upvalueindex(1));
    return 1;
}

/* () -> a table of globals for one policy; it shares no table with anybody */
static void push_policy_globals(lua_State *core, struct setup *setup)
{
    lua_pushvalue(core, LUA_GLOBALSINDEX);
    lua_newtable(core);
    copy_fields(core, POLICY_FUNCTIONS);
    copy_libraries(core);
    load_module(core, setup, "fit");
    lua_pushcclosure(core, require_fit, 1);
    lua_setfield(core, -2, "require");
    lua_remove(core, -2);
}

/* ---- opening ---- */

/* (check_exports, policies) -> the same, with policies[name] = what its file returned */
static void load_policy(lua_State *core, struct setup *setup, const char *name)
{
    const char *folder = setup->paths->policies;

    if (!load_file(core, setup, folder, name)) {
        folder = setup->paths->shipped;
        if (!load_file(core, setup, folder, name))
            luaL_error(core, "%s/%s.lua: no such file", folder, name);
    }
    push_policy_globals(core, setup);
    lua_setfenv(core, -2);
    lua_call(core, 0, 1); /* check_exports, policies, exports */
    lua_pushvalue(core, -3);
    lua_pushstring(core, name);
    lua_pushvalue(core, -3);
    lua_call(core, 2, 2); /* …, exports, ok, problem */
    if (!lua_toboolean(core, -2))
        luaL_error(core, "%s/%s.lua: %s", folder, name, lua_tostring(core, -1));
    lua_pop(core, 2);
    lua_setfield(core, -2, name);
}

/* (require) -> (require, module) */
static void call_require(lua_State *core, const char *name)
{
    lua_pushvalue(core, -1);
    lua_pushstring(core, name);
    lua_call(core, 1, 1);
}

/* lua_cpcall: the whole set-up of the core's state. */
static int set_up(lua_State *core)
{
    static const char *const names[] = {"intake", "rank", "place", "plan", "retry", NULL};
    struct setup *setup = lua_touserdata(core, 1);

    lua_settop(core, 0);
    open_libraries(core);
    lua_pushlightuserdata(core, setup);
    lua_newtable(core);
    lua_pushcclosure(core, require_module, 2);
    lua_pushvalue(core, -1);
    lua_setfield(core, LUA_GLOBALSINDEX, "require");
    call_require(core, "scheduler");
    lua_getfield(core, -1, "new"); /* require, scheduler, new */
    lua_pushvalue(core, 1);
    call_require(core, "policy_guard");
    lua_getfield(core, -1, "check_exports");
    lua_newtable(core); /* …, new, require, policy_guard, check_exports, policies */
    setup->code = ERR_POLICY_INVALID;
    for (const char *const *name = names; *name; name++)
        load_policy(core, setup, *name);
    lua_pushlightuserdata(core, &core_key);
    lua_pushvalue(core, 3);
    lua_pushvalue(core, -3);
    lua_call(core, 1, 1); /* …, policies, key, core object */
    lua_rawset(core, LUA_REGISTRYINDEX);
    /* It refers to setup, which is gone soon. */
    lua_pushnil(core);
    lua_setfield(core, LUA_GLOBALSINDEX, "require");
    return 0;
}

void core_state_take_error(lua_State *core, enum err_code code, struct err *err)
{
    const char *text = lua_type(core, -1) == LUA_TSTRING ? lua_tostring(core, -1) : NULL;

    if (text != NULL)
        err_set(err, code, "%s", text);
    else
        err_set(err, code, "the decision core raised a %s", luaL_typename(core, -1));
    lua_settop(core, 0);
}

lua_State *core_state_open(const struct core_paths *paths, struct err *err)
{
    struct setup setup = {.paths = paths, .code = ERR_INTERNAL};
    lua_State *core = FAULT("scheduler.state") ? NULL : luaL_newstate();

    if (core == NULL) {
        err_set(err, ERR_NO_MEMORY, "the decision core: out of memory");
        return NULL;
    }
    int failed = lua_cpcall(core, set_up, &setup);
    buffer_free(&setup.text);
    if (failed) {
        core_state_take_error(core, setup.code, err);
        lua_close(core);
        return NULL;
    }
    return core;
}

void core_state_push_method(lua_State *core, const char *name)
{
    lua_pushlightuserdata(core, &core_key);
    lua_rawget(core, LUA_REGISTRYINDEX);
    lua_getfield(core, -1, name);
    lua_insert(core, -2);
}
