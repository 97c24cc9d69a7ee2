/* host.account: what this host has, and bookings of it (host/README.md).
 *
 * Numbers come from Lua as doubles: whatever is no whole number from 0 to 2^53 is account.value, never a
 * booking. */
#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "account/account.h"
#include "lua/doors.h"
#include "lua/host.h"
#include "lua/lua_err.h"

enum { MOST_SHARES = 256, UUID_TEXT_SIZE = 41 };

static const double LARGEST = 9007199254740992.0; /* 2^53 */

static struct account *account_of(lua_State *L)
{
    struct account *account = host_get(L)->account;

    if (account == NULL)
        luaL_error(L, "host.account: this program has no account");
    return account;
}

/* "GPU-8b1d…" with dashes where NVML has them. */
static void format_uuid(const unsigned char uuid[16], char out[UUID_TEXT_SIZE])
{
    char *at = out + sprintf(out, "GPU");

    for (int i = 0; i < 16; i++)
        at += sprintf(at, (i == 0 || i == 4 || i == 6 || i == 8 || i == 10) ? "-%02x" : "%02x", uuid[i]);
}

/* 32 hexadecimal digits; dashes and a leading "GPU-" are ignored. */
static bool parse_uuid(const char *text, unsigned char uuid[16])
{
    int digits = 0;

    if (strncmp(text, "GPU-", 4) == 0)
        text += 4;
    memset(uuid, 0, 16);
    for (; *text != '\0'; text++) {
        const char *hex = "0123456789abcdef", *found = strchr(hex, *text | 0x20);
        if (*text == '-')
            continue;
        if (found == NULL || digits == 32)
            return false;
        uuid[digits / 2] = (unsigned char)(uuid[digits / 2] << 4 | (found - hex));
        digits++;
    }
    return digits == 32;
}

/* The whole number in the field of the table at index; 0 when there is none. -1: account.value. */
static int read_count(lua_State *L, int index, const char *name, double largest, uint64_t *out,
                      struct err *err)
{
    lua_getfield(L, index, name);
    int type = lua_type(L, -1);
    double value = lua_tonumber(L, -1);
    lua_pop(L, 1);
    *out = 0;
    if (type == LUA_TNIL)
        return 0;
    if (type != LUA_TNUMBER)
        return err_set(err, ERR_ACCOUNT_VALUE, "%s: a number is wanted, not a %s", name,
                       lua_typename(L, type));
    if (!(value >= 0 && value <= largest) || value != (double)(uint64_t)value)
        return err_set(err, ERR_ACCOUNT_VALUE, "%s: %.17g is no whole number from 0 to %.0f", name, value,
                       largest);
    *out = (uint64_t)value;
    return 0;
}

static int read_amount(lua_State *L, int index, struct amount *amount, struct err *err)
{
    uint64_t cores;

    if (read_count(L, index, "cores", UINT32_MAX, &cores, err) ||
        read_count(L, index, "mem", LARGEST, &amount->mem, err) ||
        read_count(L, index, "disk", LARGEST, &amount->disk, err))
        return -1;
    amount->cores = (uint32_t)cores;
    return 0;
}

/* The list `gpus` of the table at index. */
static int read_shares(lua_State *L, int index, struct gpu_share *shares, size_t *n, struct err *err)
{
    int result = -1;

    *n = 0;
    lua_getfield(L, index, "gpus");
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        return 0;
    }
    luaL_checktype(L, -1, LUA_TTABLE);
    size_t size = lua_objlen(L, -1);
    if (size > MOST_SHARES)
        err_set(err, ERR_ACCOUNT_VALUE, "gpus: %zu are named, at most %d can be", size, MOST_SHARES);
    else
        result = 0;
    for (size_t i = 0; i < size && result == 0; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        luaL_checktype(L, -1, LUA_TTABLE);
        lua_getfield(L, -1, "uuid");
        const char *uuid = lua_tostring(L, -1);
        if (uuid == NULL || !parse_uuid(uuid, shares[i].uuid))
            result = err_set(err, ERR_ACCOUNT_VALUE, "gpus: number %zu has no uuid of 32 hexadecimal digits",
                             i + 1);
        lua_pop(L, 1);
        if (result == 0)
            result = read_count(L, lua_gettop(L), "mem", LARGEST, &shares[i].mem, err);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    *n = size;
    return result;
}

/* (table at the top) -> the same with cores, mem, disk */
static void set_amount(lua_State *L, const struct amount *amount)
{
    lua_pushnumber(L, amount->cores);
    lua_setfield(L, -2, "cores");
    lua_pushnumber(L, (lua_Number)amount->mem);
    lua_setfield(L, -2, "mem");
    lua_pushnumber(L, (lua_Number)amount->disk);
    lua_setfield(L, -2, "disk");
}

/* (table at the top) -> the same with gpus = {{uuid, mem, free_mem}…} */
static void set_gpus(lua_State *L, const struct account *account, bool with_free)
{
    const struct capacity *capacity = account_capacity(account);

    lua_createtable(L, (int)capacity->n_gpus, 0);
    for (size_t i = 0; i < capacity->n_gpus; i++) {
        char uuid[UUID_TEXT_SIZE];
        format_uuid(capacity->gpus[i].uuid, uuid);
        lua_createtable(L, 0, 3);
        lua_pushstring(L, uuid);
        lua_setfield(L, -2, "uuid");
        lua_pushnumber(L, (lua_Number)capacity->gpus[i].mem);
        lua_setfield(L, -2, "mem");
        if (with_free) {
            lua_pushnumber(L, (lua_Number)account_gpu_free(account, i));
            lua_setfield(L, -2, "free_mem");
        }
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_setfield(L, -2, "gpus");
}

/* capacity() -> {cores, mem, disk, gpus, why} */
static int capacity(lua_State *L)
{
    const struct account *account = account_of(L);

    lua_createtable(L, 0, 5);
    set_amount(L, &account_capacity(account)->total);
    set_gpus(L, account, false);
    lua_pushstring(L, account_capacity(account)->why);
    lua_setfield(L, -2, "why");
    return 1;
}

/* read() -> {total, free, gpus} */
static int read_account(lua_State *L)
{
    const struct account *account = account_of(L);
    struct amount total, available;

    account_read(account, &total, &available);
    lua_createtable(L, 0, 3);
    lua_createtable(L, 0, 3);
    set_amount(L, &total);
    lua_setfield(L, -2, "total");
    lua_createtable(L, 0, 3);
    set_amount(L, &available);
    lua_setfield(L, -2, "free");
    set_gpus(L, account, true);
    return 1;
}

/* book(owner, {cores, mem, disk, gpus}) -> booking | nil, err */
static int book(lua_State *L)
{
    struct account *account = account_of(L);
    double owner = luaL_checknumber(L, 1);
    struct amount amount;
    struct gpu_share shares[MOST_SHARES];
    size_t n;
    uint64_t booking;
    struct err err;

    luaL_checktype(L, 2, LUA_TTABLE);
    luaL_argcheck(L, owner >= 0 && owner <= LARGEST && owner == (double)(uint64_t)owner, 1,
                  "the owner is an integer");
    if (read_amount(L, 2, &amount, &err) || read_shares(L, 2, shares, &n, &err) ||
        account_book(account, (uint64_t)owner, &amount, shares, n, &booking, &err))
        return lua_err_return(L, &err);
    lua_pushnumber(L, (lua_Number)booking);
    return 1;
}

/* release(booking, "compute" | "disk" | "all") */
static int release(lua_State *L)
{
    static const char *const names[] = {"compute", "disk", "all", NULL};
    static const unsigned parts[] = {ACCOUNT_COMPUTE, ACCOUNT_DISK, ACCOUNT_COMPUTE | ACCOUNT_DISK};
    double booking = luaL_checknumber(L, 1);

    luaL_argcheck(L, booking >= 1 && booking <= LARGEST, 1, "a booking is what book() gave");
    account_release(account_of(L), (uint64_t)booking, parts[luaL_checkoption(L, 2, NULL, names)]);
    return 0;
}

int luaopen_host_account(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"capacity", capacity}, {"read", read_account}, {"book", book}, {"release", release}, {NULL, NULL}};
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
