/* Reads a Lua value into a flat form, and makes Lua values and canonical JSON of it.
 *
 * The flat form, in the machine's own order, never stored: one tag byte, then a double ('n'), a size and
 * bytes ('s'), or a count and that many items ('a': values; 'o': size, bytes of the key, value). Nil, false
 * and true are z, f, t. */
#include "lua/copy.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"

enum { DEEPEST = 64 }; /* whatever the limits say: it bounds the C stack */

/* ---- reading
 * ----------------------------------------------------------------------------------------------- */

/* One step on the way to where we are; an item of a list has text NULL, and its number in size. */
struct step {
    const char *text; /* alive: its table holds it, and nothing runs that could change the table */
    size_t size;
};

struct reader {
    lua_State *L;
    const struct copy_limits *limits;
    struct buffer *out;
    struct err *err;
    struct step path[DEEPEST];
    unsigned depth;
};

/* A member of a table within out: size and bytes of the key, then the value. */
struct member {
    size_t start, size;
    const char *data; /* set when out does not grow any more */
};

static int refuse(struct reader *reader, const char *what)
{
    char path[200] = "the value";
    size_t have = 0;

    for (unsigned i = 0; i < reader->depth && have < sizeof path; i++) {
        const struct step *step = &reader->path[i];
        int added = step->text == NULL
                        ? snprintf(path + have, sizeof path - have, "[%zu]", step->size)
                        : snprintf(path + have, sizeof path - have, "%s%.40s", i ? "." : "", step->text);
        have += added > 0 ? (size_t)added : 0;
    }
    return err_set(reader->err, ERR_INTERNAL, "%s: %s", path, what);
}

static int no_memory(struct err *err)
{
    return err_set(err, ERR_NO_MEMORY, "a copy between two Lua states: out of memory");
}

static int add(struct reader *reader, const void *data, size_t size)
{
    if (size > reader->limits->size || reader->out->size > reader->limits->size - size)
        return refuse(reader, "the value is too big");
    if (FAULT("copy.read") || buffer_add(reader->out, data, size))
        return no_memory(reader->err);
    return 0;
}

static int add_tagged(struct reader *reader, char tag, const void *data, size_t size)
{
    return add(reader, &tag, 1) || (size > 0 && add(reader, data, size)) ? -1 : 0;
}

static int read_value(struct reader *reader);

/* (table) -> (table): how many members, and is it a list? -1: it is neither a list nor a table of text keys.
 */
static int look_at_table(struct reader *reader, size_t *n, bool *is_list)
{
    lua_State *L = reader->L;
    size_t length = lua_objlen(L, -1);
    bool fits = true;

    *n = 0;
    *is_list = length > 0;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        double number = lua_type(L, -2) == LUA_TNUMBER ? lua_tonumber(L, -2) : 0;
        if (*is_list)
            fits = fits && number >= 1 && number <= (double)length && number == floor(number);
        else
            fits = fits && lua_type(L, -2) == LUA_TSTRING;
        (*n)++;
    }
    if (!fits || (*is_list && *n != length))
        return refuse(reader, "a table is either a list without holes or has text keys only");
    *is_list = *is_list || *n == 0;
    return 0;
}

/* (table) -> (table) */
static int read_list(struct reader *reader, size_t n)
{
    if (add_tagged(reader, 'a', &n, sizeof n))
        return -1;
    for (size_t i = 1; i <= n; i++) {
        reader->path[reader->depth++] = (struct step){.text = NULL, .size = i};
        lua_rawgeti(reader->L, -1, (int)i);
        int failed = read_value(reader);
        lua_pop(reader->L, 1);
        if (failed)
            return -1;
        reader->depth--;
    }
    return 0;
}

/* (table, key, value) -> the same */
static int read_member(struct reader *reader, struct member *member)
{
    struct step key;

    key.text = lua_tolstring(reader->L, -2, &key.size);
    member->start = reader->out->size;
    reader->path[reader->depth++] = key;
    if (add(reader, &key.size, sizeof key.size) || add(reader, key.text, key.size) || read_value(reader))
        return -1;
    reader->depth--;
    member->size = reader->out->size - member->start;
    return 0;
}

static int compare_members(const void *left, const void *right)
{
    const struct member *a = left, *b = right;
    size_t a_size, b_size;

    memcpy(&a_size, a->data, sizeof a_size);
    memcpy(&b_size, b->data, sizeof b_size);
    int order = memcmp(a->data + sizeof a_size, b->data + sizeof b_size, a_size < b_size ? a_size : b_size);
    return order ? order : (a_size > b_size) - (a_size < b_size);
}

/* Puts the members, which lie in out from `start` on in the order of their reading, into the order of their
 * keys. */
static int sort_members(struct reader *reader, struct member *members, size_t n, size_t start)
{
    size_t size = reader->out->size - start, have = 0;
    char *sorted = FAULT("copy.sort") ? NULL : malloc(size);

    if (sorted == NULL)
        return no_memory(reader->err);
    for (size_t i = 0; i < n; i++)
        members[i].data = reader->out->data + members[i].start;
    qsort(members, n, sizeof *members, compare_members);
    for (size_t i = 0; i < n; i++) {
        memcpy(sorted + have, members[i].data, members[i].size);
        have += members[i].size;
    }
    memcpy(reader->out->data + start, sorted, size);
    free(sorted);
    return 0;
}

/* (table) -> (table); after a failure copy_read clears the stack */
static int read_object(struct reader *reader, size_t n)
{
    lua_State *L = reader->L;
    size_t i = 0;
    int result = add_tagged(reader, 'o', &n, sizeof n);
    size_t start = reader->out->size;
    struct member *members = FAULT("copy.members") ? NULL : calloc(n, sizeof *members);

    if (members == NULL)
        return no_memory(reader->err);
    lua_pushnil(L);
    while (result == 0 && lua_next(L, -2)) {
        result = read_member(reader, &members[i++]);
        lua_pop(L, 1);
    }
    if (result == 0)
        result = sort_members(reader, members, n, start);
    free(members);
    return result;
}

/* (table) -> (table) */
static int read_table(struct reader *reader)
{
    size_t n;
    bool is_list;

    if (reader->depth >= DEEPEST || reader->depth >= reader->limits->depth || !lua_checkstack(reader->L, 4))
        return refuse(reader, "tables are nested too deeply");
    if (look_at_table(reader, &n, &is_list))
        return -1;
    return is_list ? read_list(reader, n) : read_object(reader, n);
}

/* (value) -> (value) */
static int read_value(struct reader *reader)
{
    lua_State *L = reader->L;
    double number;
    size_t size;
    const char *text;

    switch (lua_type(L, -1)) {
    case LUA_TNIL:
        return add_tagged(reader, 'z', NULL, 0);
    case LUA_TBOOLEAN:
        return add_tagged(reader, lua_toboolean(L, -1) ? 't' : 'f', NULL, 0);
    case LUA_TNUMBER:
        number = lua_tonumber(L, -1);
        if (!isfinite(number))
            return refuse(reader, "a number that is not finite");
        number = number == 0 ? 0 : number; /* not -0, which is equal to 0 */
        return add_tagged(reader, 'n', &number, sizeof number);
    case LUA_TSTRING:
        text = lua_tolstring(L, -1, &size);
        return add_tagged(reader, 's', &size, sizeof size) || add(reader, text, size) ? -1 : 0;
    case LUA_TTABLE:
        return read_table(reader);
    default:
        return refuse(reader, "a value that is no nil, boolean, number, text or table");
    }
}

int copy_read(lua_State *L, int index, const struct copy_limits *limits, struct buffer *out, struct err *err)
{
    struct reader reader = {.L = L, .limits = limits, .out = out, .err = err};

    buffer_clear(out);
    if (!lua_checkstack(L, 1))
        return no_memory(err);
    lua_pushvalue(L, index);
    int top = lua_gettop(L);
    int result = read_value(&reader);
    lua_settop(L, top - 1);
    return result;
}

/* ---- the flat form
 * ----------------------------------------------------------------------------------------- */

/* Only copy_read writes the flat form: it is taken as right. */
struct cursor {
    const char *at;
};

static char next_tag(struct cursor *cursor)
{
    return *cursor->at++;
}

static size_t next_size(struct cursor *cursor)
{
    size_t size;

    memcpy(&size, cursor->at, sizeof size);
    cursor->at += sizeof size;
    return size;
}

static double next_number(struct cursor *cursor)
{
    double number;

    memcpy(&number, cursor->at, sizeof number);
    cursor->at += sizeof number;
    return number;
}

static const char *next_bytes(struct cursor *cursor, size_t size)
{
    const char *bytes = cursor->at;

    cursor->at += size;
    return bytes;
}

/* ---- pushing
 * ----------------------------------------------------------------------------------------------- */

static int hint(size_t n)
{
    return n < 1 << 20 ? (int)n : 1 << 20;
}

/* () -> value */
static void push_value(lua_State *L, struct cursor *cursor)
{
    char tag = next_tag(cursor);
    size_t n;

    /* Three slots a level; never more levels than copy_read allowed. */
    if (!lua_checkstack(L, 3)) {
        lua_pushliteral(L, "a copy between two Lua states: out of stack");
        lua_error(L);
    }
    switch (tag) {
    case 'z':
        lua_pushnil(L);
        return;
    case 't':
    case 'f':
        lua_pushboolean(L, tag == 't');
        return;
    case 'n':
        lua_pushnumber(L, next_number(cursor));
        return;
    case 's':
        n = next_size(cursor);
        lua_pushlstring(L, next_bytes(cursor, n), n);
        return;
    case 'a':
        n = next_size(cursor);
        lua_createtable(L, hint(n), 0);
        for (size_t i = 1; i <= n; i++) {
            push_value(L, cursor);
            lua_rawseti(L, -2, (int)i);
        }
        return;
    default:
        n = next_size(cursor);
        lua_createtable(L, 0, hint(n));
        for (size_t i = 1; i <= n; i++) {
            size_t size = next_size(cursor);
            lua_pushlstring(L, next_bytes(cursor, size), size);
            push_value(L, cursor);
            lua_rawset(L, -3);
        }
    }
}

void copy_push(lua_State *L, const struct buffer *value)
{
    struct cursor cursor = {.at = value->data};

    push_value(L, &cursor);
}

/* ---- canonical text
 * ---------------------------------------------------------------------------------------- */

static int write_value(struct cursor *cursor, struct buffer *out);

static int write_number(double number, struct buffer *out)
{
    bool whole = number == floor(number) && fabs(number) < 1e17;

    return buffer_format(out, whole ? "%.0f" : "%.17g", number);
}

static int write_items(struct cursor *cursor, bool keys, struct buffer *out)
{
    size_t n = next_size(cursor);

    if (buffer_add(out, keys ? "{" : "[", 1))
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && buffer_add(out, ",", 1))
            return -1;
        if (keys) {
            size_t size = next_size(cursor);
            if (buffer_add_json(out, next_bytes(cursor, size), size) || buffer_add(out, ":", 1))
                return -1;
        }
        if (write_value(cursor, out))
            return -1;
    }
    return buffer_add(out, keys ? "}" : "]", 1);
}

static int write_value(struct cursor *cursor, struct buffer *out)
{
    char tag = next_tag(cursor);
    size_t size;

    switch (tag) {
    case 'z':
        return buffer_add_text(out, "null");
    case 't':
    case 'f':
        return buffer_add_text(out, tag == 't' ? "true" : "false");
    case 'n':
        return write_number(next_number(cursor), out);
    case 's':
        size = next_size(cursor);
        return buffer_add_json(out, next_bytes(cursor, size), size);
    default:
        return write_items(cursor, tag == 'o', out);
    }
}

int copy_text(const struct buffer *value, struct buffer *out, struct err *err)
{
    struct cursor cursor = {.at = value->data};

    if (FAULT("copy.text") || write_value(&cursor, out))
        return no_memory(err);
    return 0;
}
