/* Plain values between two Lua states, and their canonical text.
 *
 * A value is read out of one state into bytes, and pushed from them into another: no code ever holds both
 * states at once, so an error in one can not unwind through the other. Plain are: nil, booleans, finite
 * numbers, strings, and tables that are either an array 1…n or have string keys only; no metatable is looked
 * at. One thread a state. */
#ifndef MOONRUNNER_LUA_COPY_H
#define MOONRUNNER_LUA_COPY_H

#include <lua.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/err.h"

struct copy_limits {
    unsigned depth; /* tables within tables */
    size_t size;    /* bytes of the read form */
};
#define COPY_LIMITS ((struct copy_limits){.depth = 32, .size = (size_t)64 << 20})

/* Replaces `out` by the value at index, keys sorted. -1: it is not plain or too big (internal), or out of
 * memory; the message says where: "job.needs.cores: NaN is no finite number". Never raises, allocates nothing
 * in L. */
int copy_read(lua_State *L, int index, const struct copy_limits *, struct buffer *out, struct err *);

/* Pushes the value that copy_read left. Only within a protected call: raises when L is out of memory. */
void copy_push(lua_State *L, const struct buffer *value);

/* Adds the canonical text of the value: JSON, keys sorted by bytes, no spaces, integers plainly, other
 * numbers by
 * %.17g, an empty table as []. Equal values have equal texts, on every machine. -1: out of memory. */
int copy_text(const struct buffer *value, struct buffer *out, struct err *);

#endif
