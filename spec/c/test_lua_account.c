/* The door host.account: what comes from Lua is checked before it is booked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <lauxlib.h>
#include <lualib.h>

#include "account/account.h"
#include "lua/doors.h"
#include "lua/host.h"

static lua_State *L;
static struct host host;

static const struct gpu CARDS[] = {
    {.uuid = {0x8b, 0x1d, 0, 0, 0, 1, 0, 2, 0, 3, 0, 0, 0, 0, 0, 0xff}, .mem = 40},
};

static int set_up(void **state)
{
    (void)state;
    struct err err;
    struct capacity capacity = {.total = {.cores = 4, .mem = 1000, .disk = 500},
                                .gpus = CARDS,
                                .n_gpus = 1,
                                .why = "4 cores, as a test says"};

    host = (struct host){.account = account_create(&capacity, &err)};
    L = luaL_newstate();
    luaL_openlibs(L);
    host_set(L, &host);
    luaopen_host_account(L);
    lua_setglobal(L, "account");
    return host.account == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    lua_close(L);
    account_destroy(host.account);
    return 0;
}

static void run(const char *code)
{
    if (luaL_dostring(L, code))
        fail_msg("%s", lua_tostring(L, -1));
}

static void it_tells_what_there_is_and_why(void **state)
{
    (void)state;
    run("local c = account.capacity()\n"
        "assert(c.cores == 4 and c.mem == 1000 and c.disk == 500 and c.why == '4 cores, as a test says')\n"
        "assert(#c.gpus == 1 and c.gpus[1].uuid == 'GPU-8b1d0000-0001-0002-0003-0000000000ff')\n"
        "assert(c.gpus[1].mem == 40)");
}

static void a_booking_is_all_or_nothing_and_released_in_parts(void **state)
{
    (void)state;
    run("local card = account.read().gpus[1].uuid\n"
        "local b = assert(account.book(7, {cores = 3, mem = 10, disk = 20, gpus = {{uuid = card, mem = "
        "15}}}))\n"
        "local r = account.read()\n"
        "assert(r.total.cores == 4 and r.free.cores == 1 and r.free.mem == 990 and r.free.disk == 480)\n"
        "assert(r.gpus[1].free_mem == 25)\n"
        "local none, err = account.book(8, {cores = 1, mem = 991})\n"
        "assert(none == nil and err.code == 'account.memory' and err.message == 'memory: need 991, have "
        "990')\n"
        "assert(account.read().free.cores == 1)\n"
        "account.release(b, 'compute')\n"
        "r = account.read()\n"
        "assert(r.free.cores == 4 and r.gpus[1].free_mem == 40 and r.free.disk == 480)\n"
        "account.release(b, 'all') account.release(b, 'all')\n"
        "assert(account.read().free.disk == 500)");
}

static void numbers_that_are_no_amounts_are_refused(void **state)
{
    (void)state;
    run("local wrong = {-1, 0.5, 0/0, 1/0, -1/0, 2^53 + 2, '1', true, {}}\n"
        "for i, value in ipairs(wrong) do\n"
        "  for _, name in ipairs{'cores', 'mem', 'disk'} do\n"
        "    local b, err = account.book(1, {[name] = value})\n"
        "    assert(b == nil and err.code == 'account.value', i .. ' ' .. name)\n"
        "  end\n"
        "end\n"
        "local b, err = account.book(1, {cores = 2^32})\n"
        "assert(b == nil and err.code == 'account.value')\n"
        "b, err = account.book(1, {cores = 2^32 - 1})\n"
        "assert(b == nil and err.code == 'account.cores')\n"
        "local r = account.read()\n"
        "assert(r.free.cores == 4 and r.free.mem == 1000 and r.free.disk == 500)");
}

static void cards_are_named_by_their_uuid(void **state)
{
    (void)state;
    run("local function book(uuid, mem) return account.book(1, {gpus = {{uuid = uuid, mem = mem}}}) end\n"
        "local ok = assert(book('8B1D0000000100020003' .. '0000000000FF', 0))\n"
        "account.release(ok, 'all')\n"
        "for _, uuid in ipairs{'', 'GPU-', 'xyz', 'GPU-8b1d', ('0'):rep(33), 'none', ('0'):rep(32)} do\n"
        "  local b, err = book(uuid, 1)\n"
        "  assert(b == nil and err.code == 'account.value', uuid)\n"
        "end\n"
        "local many = {} for i = 1, 1000 do many[i] = {uuid = ('0'):rep(32)} end\n"
        "local b, err = account.book(1, {gpus = many})\n"
        "assert(b == nil and err.code == 'account.value')\n"
        "assert(account.read().gpus[1].free_mem == 40)");
}

static void wrong_arguments_raise(void **state)
{
    (void)state;
    run("assert(not pcall(account.book)) assert(not pcall(account.book, 1)) assert(not pcall(account.book, "
        "'x', {}))\n"
        "assert(not pcall(account.book, 1.5, {})) assert(not pcall(account.book, 1, {gpus = 7}))\n"
        "assert(not pcall(account.book, 1, {gpus = {7}}))\n"
        "assert(not pcall(account.release, 1)) assert(not pcall(account.release, 1, 'half'))\n"
        "assert(not pcall(account.release, 0/0, 'all')) assert(not pcall(account.release, -1, 'all'))");
    struct account *account = host.account;
    host.account = NULL;
    run("local ok, message = pcall(account.read) assert(not ok and message:find('no account'))");
    host.account = account;
}

int main(void)
{
#define WITH_ACCOUNT(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_ACCOUNT(it_tells_what_there_is_and_why),
        WITH_ACCOUNT(a_booking_is_all_or_nothing_and_released_in_parts),
        WITH_ACCOUNT(numbers_that_are_no_amounts_are_refused),
        WITH_ACCOUNT(cards_are_named_by_their_uuid),
        WITH_ACCOUNT(wrong_arguments_raise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
