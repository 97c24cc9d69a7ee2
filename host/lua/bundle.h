/* A bundle: the scripts of one folder at one moment, loaded together and known by their hash. Loop thread. */
#ifndef MOONRUNNER_LUA_BUNDLE_H
#define MOONRUNNER_LUA_BUNDLE_H

#include <lua.h>

#include "base/err.h"

struct budget;

/* Loads every *.lua of `folder`, and those of `shipped` (NULL: none) whose name `folder` does not have: all
 * as text, before the first one runs; then each once, in order of name, in one environment of scripts
 * (lua/sandbox.h), within a slice of `budget`. Their `require` finds the files of the bundle first, then
 * lualib. Pushes a table {name without .lua = what the file returned, true for nothing} and writes 64
 * hexadecimal digits and a NUL into hash. -1: nothing is pushed; err is script.invalid and names file and
 * line, or file.*. */
int bundle_open(lua_State *L, struct budget *budget, const char *folder, const char *shipped, char hash[65],
                struct err *);

#endif
