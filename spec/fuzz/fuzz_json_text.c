/* Fuzz target: any bytes through the JSON checker and the member finder.
 *
 * Besides memory errors (sanitizers), it holds what must be true of every accepted text: it stays accepted
 * inside an array one level deeper, anything after it is refused, and each member's key and value are JSON by
 * themselves. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_text.h"

#define DEPTH 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct object {
    const char *text;
    size_t size, last_end;
};

static void check_member(const struct json_member *m, void *arg)
{
    struct object *object = arg;
    assert(object->last_end <= m->key_start && m->key_start < m->key_end && m->key_end < m->value_start &&
           m->value_start < m->value_end && m->value_end < object->size);
    object->last_end = m->value_end;
    size_t key_size = m->key_end - m->key_start;
    assert(json_text_check(object->text + m->key_start, key_size, 0, NULL) == 0);
    assert(json_text_check(object->text + m->value_start, m->value_end - m->value_start, DEPTH, NULL) == 0);
    char *meaning = malloc(key_size);
    assert(json_text_unescape(object->text + m->key_start, key_size, meaning) <= key_size - 2);
    free(meaning);
}

static void check_accepted(const char *text, size_t size)
{
    char *wrapped = malloc(size + 2);
    wrapped[0] = '[';
    memcpy(wrapped + 1, text, size);
    wrapped[size + 1] = ']';
    assert(json_text_check(wrapped, size + 2, DEPTH + 1, NULL) == 0);
    assert(json_text_check(wrapped, size + 1, DEPTH + 1, NULL) == -1);
    assert(json_text_check(wrapped + 1, size + 1, DEPTH + 1, NULL) == -1);
    free(wrapped);
    struct object object = {.text = text, .size = size};
    size_t start, end;
    if (json_text_members(text, size, &start, &end, check_member, &object, NULL) == 0)
        assert(text[start] == '{' && text[end] == '}' && object.last_end <= end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {.message = ""};
    char *text = malloc(size ? size : 1); /* of exact size: a read past it is seen */
    memcpy(text, data, size);
    if (json_text_check(text, size, DEPTH, &err) == 0)
        check_accepted(text, size);
    else
        assert(err.code == ERR_JSON_INVALID && strncmp(err.message, "line ", 5) == 0);
    free(text);
    return 0;
}
