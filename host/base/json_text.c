/* A strict JSON checker, and the spans of the outermost members.
 *
 * One pass over the text with an explicit stack. The keys of all open objects lie on one list, those of the
 * innermost object last; when an object closes, its keys are sorted by what they mean, and equal neighbours
 * are duplicates. Sorting compares contents where hashes are equal, so that no choice of keys makes it slow.
 */
#include "base/json_text.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/utf8.h"

struct key {
    const char *quoted;
    size_t size;
    uint64_t hash; /* of what it means */
};

struct frame {
    bool object;
    size_t first_key;
};

struct checker {
    const char *text;
    size_t size, at;
    unsigned max_depth;
    struct frame *frames; /* depth of them */
    size_t depth, frames_room;
    struct key *keys;
    size_t n_keys, keys_room;
    struct err *err;
};

/* --- errors
 * -------------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static int fail_at(struct checker *c, size_t offset, const char *format,
                                                         ...)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < offset && i < c->size; i++) {
        if (c->text[i] == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)c->text[i] & 0xc0) != 0x80) {
            column++;
        }
    }
    char what[200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return err_set(c->err, ERR_JSON_INVALID, "line %zu, column %zu: %s", line, column, what);
}

static int fail_expected(struct checker *c, const char *expected)
{
    if (c->at >= c->size)
        return fail_at(c, c->at, "the text ends where %s should be", expected);
    unsigned char found = (unsigned char)c->text[c->at];
    if (found > ' ' && found < 0x7f)
        return fail_at(c, c->at, "%s should be here, not '%c'", expected, found);
    return fail_at(c, c->at, "%s should be here, not byte 0x%02x", expected, found);
}

/* --- growing lists
 * ------------------------------------------------------------------------------------------- */

/* Makes room for one more item of `item` bytes. */
static int grow(struct checker *c, void **items, size_t *room, size_t used, size_t item)
{
    if (used < *room)
        return 0;
    size_t more = *room ? *room * 2 : 16;
    void *grown = FAULT("base.json_text") ? NULL : reallocarray(*items, more, item);
    if (!grown)
        return err_set(c->err, ERR_NO_MEMORY, "no memory to check JSON of %zu bytes", c->size);
    *items = grown;
    *room = more;
    return 0;
}

/* --- strings
 * ------------------------------------------------------------------------------------------------- */

static int hex_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F')
        return digit - 'A' + 10;
    return -1;
}

/* The code unit of the four hexadecimal digits at `text`; -1 when they are not all there. */
static int32_t code_unit(const char *text, size_t size)
{
    int32_t unit = 0;
    if (size < 4)
        return -1;
    for (size_t i = 0; i < 4; i++) {
        int value = hex_value(text[i]);
        if (value < 0)
            return -1;
        unit = unit << 4 | value;
    }
    return unit;
}

static bool is_high_surrogate(int32_t unit)
{
    return unit >= 0xd800 && unit <= 0xdbff;
}

static bool is_low_surrogate(int32_t unit)
{
    return unit >= 0xdc00 && unit <= 0xdfff;
}

/* Decodes the escape at `text` (a backslash). Returns its bytes, 0 when it is none; a lone surrogate is none.
 */
static size_t decode_escape(const char *text, size_t size, uint32_t *code_point)
{
    static const char short_forms[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
    if (size < 2)
        return 0;
    for (const char *s = short_forms; *s; s += 2) {
        if (text[1] == s[0]) {
            *code_point = (unsigned char)s[1];
            return 2;
        }
    }
    int32_t unit = text[1] == 'u' ? code_unit(text + 2, size - 2) : -1;
    if (unit < 0 || is_low_surrogate(unit))
        return 0;
    *code_point = (uint32_t)unit;
    if (!is_high_surrogate(unit))
        return 6;
    int32_t low = size >= 12 && text[6] == '\\' && text[7] == 'u' ? code_unit(text + 8, size - 8) : -1;
    if (low < 0 || !is_low_surrogate(low))
        return 0;
    *code_point = 0x10000 + (((uint32_t)unit - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
    return 12;
}

static int check_string(struct checker *c)
{
    size_t start = c->at++;
    while (c->at < c->size && c->text[c->at] != '"') {
        const char *here = c->text + c->at;
        size_t left = c->size - c->at;
        size_t length;
        uint32_t ignored;
        if (*here == '\\') {
            length = decode_escape(here, left, &ignored);
            if (length == 0)
                return fail_at(c, c->at, "no valid escape (or half of a surrogate pair)");
        } else if ((unsigned char)*here < ' ') {
            return fail_at(c, c->at, "control character 0x%02x in a string", (unsigned char)*here);
        } else {
            length = utf8_length(here, left);
            if (length == 0)
                return fail_at(c, c->at, "byte 0x%02x is no valid UTF-8", (unsigned char)*here);
        }
        c->at += length;
    }
    if (c->at >= c->size)
        return fail_at(c, start, "this string has no end");
    c->at++;
    return 0;
}

/* What a string means, a few bytes at a time: for hashing, comparing and unescaping alike. */
struct reader {
    const char *at, *end; /* between the quotes */
    char decoded[4];
};

static struct reader read_quoted(const char *quoted, size_t size)
{
    return (struct reader){.at = quoted + 1, .end = quoted + size - 1};
}

/* The next bytes, NULL at the end: a run without escapes from the text itself, or one decoded escape. */
static const char *next_bytes(struct reader *r, size_t *size)
{
    if (r->at >= r->end)
        return NULL;
    size_t left = (size_t)(r->end - r->at);
    if (*r->at != '\\') {
        const char *run = r->at;
        const char *backslash = memchr(run, '\\', left);
        *size = backslash ? (size_t)(backslash - run) : left;
        r->at += *size;
        return run;
    }
    uint32_t code_point = 0xfffd;
    size_t length = decode_escape(r->at, left, &code_point);
    r->at += length > 0 ? length : left; /* 0 never happens in a checked text */
    *size = utf8_put(code_point, r->decoded);
    return r->decoded;
}

size_t json_text_unescape(const char *quoted, size_t size, char *out)
{
    struct reader r = read_quoted(quoted, size);
    char *end = out;
    const char *bytes;
    for (size_t n; (bytes = next_bytes(&r, &n)) != NULL; end += n)
        memcpy(end, bytes, n);
    return (size_t)(end - out);
}

/* --- duplicate keys
 * ------------------------------------------------------------------------------------------ */

static uint64_t hash_key(const char *quoted, size_t size)
{
    struct reader r = read_quoted(quoted, size);
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    const char *bytes;
    for (size_t n; (bytes = next_bytes(&r, &n)) != NULL;) {
        for (size_t i = 0; i < n; i++)
            hash = (hash ^ (unsigned char)bytes[i]) * UINT64_C(1099511628211);
    }
    return hash;
}

static int compare_meaning(const struct key *a, const struct key *b)
{
    struct reader ra = read_quoted(a->quoted, a->size), rb = read_quoted(b->quoted, b->size);
    const char *ba = NULL, *bb = NULL;
    size_t na = 0, nb = 0;
    for (;;) {
        if (na == 0)
            ba = next_bytes(&ra, &na);
        if (nb == 0)
            bb = next_bytes(&rb, &nb);
        if (!ba || !bb)
            return (ba != NULL) - (bb != NULL);
        size_t n = na < nb ? na : nb;
        int order = memcmp(ba, bb, n);
        if (order != 0)
            return order;
        ba += n, bb += n;
        na -= n, nb -= n;
    }
}

/* By hash, then by meaning, then by place. */
static int compare_keys(const void *left, const void *right)
{
    const struct key *a = left, *b = right;
    if (a->hash != b->hash)
        return a->hash < b->hash ? -1 : 1;
    int order = compare_meaning(a, b);
    if (order != 0)
        return order;
    return a->quoted < b->quoted ? -1 : a->quoted > b->quoted;
}

/* Looks at the keys of the object that closes now, and forgets them. */
static int check_keys(struct checker *c, size_t first)
{
    struct key *keys = c->keys + first;
    size_t n = c->n_keys - first;
    c->n_keys = first;
    if (n < 2)
        return 0;
    qsort(keys, n, sizeof *keys, compare_keys);
    const struct key *duplicate = NULL;
    for (size_t i = 1; i < n; i++) {
        bool same = keys[i].hash == keys[i - 1].hash && compare_meaning(&keys[i], &keys[i - 1]) == 0;
        if (same && (!duplicate || keys[i].quoted < duplicate->quoted))
            duplicate = &keys[i];
    }
    if (!duplicate)
        return 0;
    int shown = duplicate->size < 80 ? (int)duplicate->size : 80;
    return fail_at(c, (size_t)(duplicate->quoted - c->text), "duplicate key %.*s", shown, duplicate->quoted);
}

/* --- the rest of the grammar
 * --------------------------------------------------------------------------------- */

static void skip_space(struct checker *c)
{
    while (c->at < c->size && strchr(" \t\n\r", c->text[c->at]) && c->text[c->at])
        c->at++;
}

static bool next_is(const struct checker *c, char wanted)
{
    return c->at < c->size && c->text[c->at] == wanted;
}

static size_t skip_digits(struct checker *c)
{
    size_t start = c->at;
    while (c->at < c->size && c->text[c->at] >= '0' && c->text[c->at] <= '9')
        c->at++;
    return c->at - start;
}

/* Only a number with an exponent, or with very many digits, can be too large for a double. */
static int check_finite(struct checker *c, size_t start)
{
    size_t length = c->at - start;
    char *copy = FAULT("base.json_text") ? NULL : strndup(c->text + start, length);
    if (!copy)
        return err_set(c->err, ERR_NO_MEMORY, "no memory to check a number of %zu digits", length);
    bool finite = isfinite(strtod(copy, NULL));
    free(copy);
    return finite ? 0 : fail_at(c, start, "this number is too large");
}

static int check_number(struct checker *c)
{
    size_t start = c->at;
    bool exponent = false;
    if (next_is(c, '-'))
        c->at++;
    if (next_is(c, '0'))
        c->at++;
    else if (skip_digits(c) == 0)
        return fail_expected(c, "a digit");
    if (next_is(c, '.')) {
        c->at++;
        if (skip_digits(c) == 0)
            return fail_expected(c, "a digit");
    }
    if (next_is(c, 'e') || next_is(c, 'E')) {
        exponent = true;
        c->at++;
        if (next_is(c, '+') || next_is(c, '-'))
            c->at++;
        if (skip_digits(c) == 0)
            return fail_expected(c, "a digit");
    }
    return exponent || c->at - start > 300 ? check_finite(c, start) : 0;
}

static int check_literal(struct checker *c)
{
    static const char *const literals[] = {"true", "false", "null"};
    for (size_t i = 0; i < 3; i++) {
        size_t length = strlen(literals[i]);
        if (c->size - c->at >= length && memcmp(c->text + c->at, literals[i], length) == 0) {
            c->at += length;
            return 0;
        }
    }
    return fail_expected(c, "a value");
}

static int check_scalar(struct checker *c)
{
    if (next_is(c, '"'))
        return check_string(c);
    if (c->at < c->size && (c->text[c->at] == '-' || (c->text[c->at] >= '0' && c->text[c->at] <= '9')))
        return check_number(c);
    return check_literal(c);
}

/* A key and its colon. */
static int check_key(struct checker *c)
{
    skip_space(c);
    if (!next_is(c, '"'))
        return fail_expected(c, "a key in double quotes");
    size_t start = c->at;
    if (check_string(c) < 0)
        return -1;
    if (grow(c, (void **)&c->keys, &c->keys_room, c->n_keys, sizeof *c->keys) < 0)
        return -1;
    struct key key = {.quoted = c->text + start, .size = c->at - start};
    key.hash = hash_key(key.quoted, key.size);
    c->keys[c->n_keys++] = key;
    skip_space(c);
    if (!next_is(c, ':'))
        return fail_expected(c, "a colon");
    c->at++;
    return 0;
}

/* Opens the array or object here and comes to its first value. Returns 1 when it is empty: it stands at its
 * end. */
static int open_container(struct checker *c)
{
    bool object = c->text[c->at] == '{';
    if (c->depth >= c->max_depth)
        return fail_at(c, c->at, "nested deeper than %u", c->max_depth);
    if (grow(c, (void **)&c->frames, &c->frames_room, c->depth, sizeof *c->frames) < 0)
        return -1;
    c->frames[c->depth++] = (struct frame){.object = object, .first_key = c->n_keys};
    c->at++;
    skip_space(c);
    if (next_is(c, object ? '}' : ']'))
        return 1;
    return object ? check_key(c) : 0;
}

/* After a value: closes what ends here, and comes to the next value. Returns 1 when the outermost value is
 * over. */
static int next_value(struct checker *c)
{
    while (c->depth > 0) {
        struct frame frame = c->frames[c->depth - 1];
        skip_space(c);
        if (next_is(c, ',')) {
            c->at++;
            return frame.object ? check_key(c) : 0;
        }
        if (!next_is(c, frame.object ? '}' : ']'))
            return fail_expected(c, frame.object ? "a comma or '}'" : "a comma or ']'");
        c->at++;
        c->depth--;
        if (frame.object && check_keys(c, frame.first_key) < 0)
            return -1;
    }
    return 1;
}

static int check_document(struct checker *c)
{
    for (int status = 0; status == 0;) {
        skip_space(c);
        if (next_is(c, '{') || next_is(c, '[')) {
            int opened = open_container(c);
            if (opened < 0)
                return -1;
            if (opened == 0)
                continue;
        } else if (check_scalar(c) < 0) {
            return -1;
        }
        status = next_value(c);
        if (status < 0)
            return -1;
    }
    skip_space(c);
    return c->at == c->size ? 0 : fail_at(c, c->at, "something follows the value");
}

int json_text_check(const char *text, size_t size, unsigned max_depth, struct err *err)
{
    struct checker c = {.text = text, .size = size, .max_depth = max_depth, .err = err};
    int status = check_document(&c);
    free(c.keys);
    free(c.frames);
    return status;
}

/* --- members
 * ------------------------------------------------------------------------------------------------- */

/* Walks a checked text; stays within it in any case. */
static void pass_string(struct checker *c)
{
    for (c->at++; c->at < c->size && c->text[c->at] != '"'; c->at++) {
        if (c->text[c->at] == '\\')
            c->at++;
    }
    c->at = c->at < c->size ? c->at + 1 : c->size;
}

static void pass_value(struct checker *c)
{
    size_t depth = 0;
    while (c->at < c->size) {
        char here = c->text[c->at];
        if (here == '"') {
            pass_string(c);
        } else if (here == '{' || here == '[') {
            depth++;
            c->at++;
        } else if (depth == 0 && (here == ',' || here == '}' || here == ']' || strchr(" \t\n\r", here))) {
            return;
        } else {
            depth -= here == '}' || here == ']';
            c->at++;
        }
        if (depth == 0 && strchr("\"}]", c->text[c->at - 1]))
            return;
    }
}

int json_text_members(const char *text, size_t size, size_t *object_start, size_t *object_end,
                      void (*fn)(const struct json_member *, void *), void *arg, struct err *err)
{
    struct checker c = {.text = text, .size = size, .err = err};
    skip_space(&c);
    if (!next_is(&c, '{'))
        return err_set(err, ERR_JSON_INVALID, "the text is no JSON object");
    *object_start = c.at++;
    for (;;) {
        skip_space(&c);
        if (next_is(&c, ',')) {
            c.at++;
            continue;
        }
        if (!next_is(&c, '"'))
            break;
        struct json_member member = {.key_start = c.at};
        pass_string(&c);
        member.key_end = c.at;
        skip_space(&c);
        c.at += next_is(&c, ':');
        skip_space(&c);
        member.value_start = c.at;
        pass_value(&c);
        member.value_end = c.at;
        fn(&member, arg);
    }
    *object_end = c.at;
    return 0;
}
