/* Lua source files, read whole and loaded as text. Any thread that owns the state. */
#ifndef MOONRUNNER_LUA_SOURCE_H
#define MOONRUNNER_LUA_SOURCE_H

#include <lua.h>

#include "base/buffer.h"
#include "base/err.h"

/* Replaces what is in `out` by the file's bytes, a byte order mark removed. -1: file.*, or file.too_big above
 * 1 MiB. */
int source_read(const char *path, struct buffer *out, struct err *);
/* Pushes the function. `name` is how messages call the file: "scripts/handle_job.lua". -1: script.invalid,
 * "NAME:LINE: what is wrong"; nothing is pushed. Bytecode is refused. Raises only memory errors. */
int source_load(lua_State *L, const struct buffer *text, const char *name, struct err *);

#endif
