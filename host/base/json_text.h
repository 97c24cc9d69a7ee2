/* JSON as text: is it strictly valid, and where are the members of its outermost object?
 *
 * lua-cjson accepts NaN, duplicate keys and invalid UTF-8, and a round trip through it changes `[]` and long
 * numbers (reference: facts). So what we must not change is never decoded and encoded again: it is edited as
 * text, by the spans found here. Pure; any thread. */
#ifndef MOONRUNNER_BASE_JSON_TEXT_H
#define MOONRUNNER_BASE_JSON_TEXT_H

#include <stddef.h>

#include "base/err.h"

/* RFC 8259, strictly: valid UTF-8 throughout, no duplicate key in any object (compared after unescaping), no
 * lone surrogate escape, no NaN or Infinity, numbers that are finite as doubles, nesting of at most
 * max_depth, nothing after the value but white space. O(n log n), no recursion, memory by the depth and by
 * the keys of open objects. err: json.invalid, "line 3, column 7: duplicate key \"args\"" (columns count
 * characters), or memory.exhausted. */
int json_text_check(const char *text, size_t size, unsigned max_depth, struct err *);

/* One member of the outermost object, as offsets into the text. */
struct json_member {
    size_t key_start, key_end;     /* with its quotes */
    size_t value_start, value_end; /* without white space around it */
};
/* Calls fn for each member of the outermost object, in order. `object_start`/`object_end` receive the offsets
 * of
 * `{` and of `}`. The text must have passed json_text_check. -1: the value is not an object. Holds nothing
 * while fn runs: fn may leave by longjmp. */
int json_text_members(const char *text, size_t size, size_t *object_start, size_t *object_end,
                      void (*fn)(const struct json_member *, void *), void *arg, struct err *);

/* Writes what the string means (`quoted` is its text with both quotes, from a checked text) and returns how
 * many bytes that is: less than `size`. May contain NUL. */
size_t json_text_unescape(const char *quoted, size_t size, char *out);

#endif
