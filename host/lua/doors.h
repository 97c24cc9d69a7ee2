/* The list of doors: each line adds `int luaopen_host_NAME(lua_State *L)`, which pushes what becomes
 * host.NAME. A new door is one line here; its file is host/<folder>/lua_NAME.c. */
#ifndef MOONRUNNER_LUA_DOORS_H
#define MOONRUNNER_LUA_DOORS_H

#include <lua.h>

#define HOST_DOORS(X)                                                                                        \
    X(account)                                                                                               \
    X(archive)                                                                                               \
    X(bundle)                                                                                                \
    X(console)                                                                                               \
    X(digest)                                                                                                \
    X(environment)                                                                                           \
    X(errors)                                                                                                \
    X(file)                                                                                                  \
    X(json)                                                                                                  \
    X(log)                                                                                                   \
    X(options)                                                                                               \
    X(process)                                                                                               \
    X(quantity)                                                                                              \
    X(random)                                                                                                \
    X(scheduler)                                                                                             \
    X(signal)                                                                                                \
    X(system)                                                                                                \
    X(task)                                                                                                  \
    X(time)

#define X(NAME) int luaopen_host_##NAME(lua_State *L);
HOST_DOORS(X)
#undef X

#endif
