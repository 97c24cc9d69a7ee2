/* The door host.log: one line of the log from Lua.
 *
 *     host.log(level, event, fields?)
 *
 * The fields of the running task come first; fields of the call follow, sorted by name, and win over equal
 * names. */
#include "lua/lua_log.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "lua/doors.h"
#include "lua/task.h"

enum { MAX_TASK_FIELDS = 32 };

static void read_value(lua_State *L, int index, struct log_field *field)
{
    switch (lua_type(L, index)) {
    case LUA_TSTRING:
        field->kind = LOG_TEXT;
        field->text = lua_tolstring(L, index, &field->size);
        break;
    case LUA_TBOOLEAN:
        field->kind = LOG_BOOLEAN;
        field->boolean = lua_toboolean(L, index);
        break;
    case LUA_TNUMBER: {
        double number = lua_tonumber(L, index);
        if (floor(number) == number && fabs(number) < 9007199254740992.0) {
            field->kind = LOG_INTEGER;
            field->integer = (int64_t)number;
        } else {
            field->kind = LOG_NUMBER;
            field->number = number;
        }
        break;
    }
    default:
        luaL_error(L, "log field %s: a string, a number or a boolean is wanted, not a %s", field->name,
                   luaL_typename(L, index));
    }
}

static int by_name(const void *left, const void *right)
{
    return strcmp(((const struct log_field *)left)->name, ((const struct log_field *)right)->name);
}

size_t lua_log_fields(lua_State *L, int index, struct log_field out[LUA_LOG_MAX_FIELDS])
{
    size_t n = 0;
    if (lua_isnoneornil(L, index))
        return 0;
    luaL_checktype(L, index, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "log fields have names, not a %s", luaL_typename(L, -2));
        if (n == LUA_LOG_MAX_FIELDS)
            luaL_error(L, "a log line has at most %d fields", LUA_LOG_MAX_FIELDS);
        out[n].name = lua_tostring(L, -2);
        read_value(L, -1, &out[n++]); /* the table holds the texts */
    }
    qsort(out, n, sizeof out[0], by_name);
    return n;
}

/* Puts the task's fields that `own` does not name before them. Returns how many there are now. */
static size_t add_task_fields(lua_State *L, struct log_field *all, const struct log_field *own, size_t n_own)
{
    struct log_field inherited[MAX_TASK_FIELDS];
    struct task *task = task_current(L);
    size_t n = task != NULL ? task_fields(task, inherited, MAX_TASK_FIELDS) : 0, used = 0;
    for (size_t i = 0; i < n; i++)
        if (bsearch(&inherited[i], own, n_own, sizeof own[0], by_name) == NULL)
            all[used++] = inherited[i];
    memcpy(all + used, own, n_own * sizeof own[0]);
    return used + n_own;
}

static int log_call(lua_State *L)
{
    int level = log_level_find(luaL_checkstring(L, 1));
    enum log_event event = log_event_find(luaL_checkstring(L, 2));
    luaL_argcheck(L, level >= 0, 1, "debug, info, warning or error");
    luaL_argcheck(L, event != LOG_EVENT_COUNT, 2, "no event of base/event_names.h has this name");
    struct log_field own[LUA_LOG_MAX_FIELDS], all[LUA_LOG_MAX_FIELDS + MAX_TASK_FIELDS];
    size_t n = lua_log_fields(L, 3, own);
    log_write((enum log_level)level, event, all, add_task_fields(L, all, own, n));
    return 0;
}

int luaopen_host_log(lua_State *L)
{
    lua_pushcfunction(L, log_call);
    return 1;
}
