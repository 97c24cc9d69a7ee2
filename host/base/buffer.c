/* Growing bytes. */
#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/utf8.h"

int buffer_reserve(struct buffer *b, size_t more)
{
    if (b->data && more < b->capacity - b->size)
        return 0;
    if (more > SIZE_MAX / 2 - b->size - 1)
        return -1;
    size_t capacity = b->capacity ? b->capacity : 64;
    while (capacity <= b->size + more)
        capacity *= 2;
    char *data = FAULT("base.buffer") ? NULL : realloc(b->data, capacity);
    if (!data)
        return -1;
    data[b->size] = '\0';
    b->data = data;
    b->capacity = capacity;
    return 0;
}

int buffer_add(struct buffer *b, const void *data, size_t size)
{
    if (buffer_reserve(b, size) < 0)
        return -1;
    if (size > 0)
        memcpy(b->data + b->size, data, size);
    b->size += size;
    b->data[b->size] = '\0';
    return 0;
}

int buffer_add_text(struct buffer *b, const char *text)
{
    return buffer_add(b, text, strlen(text));
}

int buffer_format(struct buffer *b, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (size < 0 || buffer_reserve(b, (size_t)size) < 0)
        return -1;
    va_start(arguments, format);
    vsnprintf(b->data + b->size, (size_t)size + 1, format, arguments);
    va_end(arguments);
    b->size += (size_t)size;
    return 0;
}

/* One character that needs an escape inside a JSON string; NULL-terminated into out. */
static void escape(unsigned char c, char out[8])
{
    static const char short_forms[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (const char *s = short_forms; *s; s += 2) {
        if ((unsigned char)s[0] == c) {
            snprintf(out, 8, "\\%c", s[1]);
            return;
        }
    }
    snprintf(out, 8, "\\u%04x", c);
}

int buffer_add_json(struct buffer *b, const char *text, size_t size)
{
    size_t before = b->size;
    int status = buffer_add(b, "\"", 1);
    for (size_t i = 0; status == 0 && i < size;) {
        size_t plain = i;
        size_t length = 0;
        while (plain < size && (length = utf8_length(text + plain, size - plain)) > 0) {
            unsigned char c = (unsigned char)text[plain];
            if (c < ' ' || c == '"' || c == '\\')
                break;
            plain += length;
        }
        status = buffer_add(b, text + i, plain - i);
        i = plain;
        if (status < 0 || i == size)
            break;
        char escaped[8] = "\xef\xbf\xbd"; /* U+FFFD */
        if (length > 0)
            escape((unsigned char)text[i], escaped);
        status = buffer_add_text(b, escaped);
        i++;
    }
    if (status == 0)
        status = buffer_add(b, "\"", 1);
    if (status < 0 && b->data) {
        b->size = before;
        b->data[before] = '\0';
    }
    return status;
}

void buffer_clear(struct buffer *b)
{
    b->size = 0;
    if (b->data)
        b->data[0] = '\0';
}

void buffer_free(struct buffer *b)
{
    free(b->data);
    *b = BUFFER_EMPTY;
}
