/* Growing bytes. One thread at a time. `data` is always followed by a NUL that `size` does not count. */
#ifndef MOONRUNNER_BASE_BUFFER_H
#define MOONRUNNER_BASE_BUFFER_H

#include <stddef.h>

struct buffer {
    char *data; /* NULL until the first byte */
    size_t size, capacity;
};
#define BUFFER_EMPTY ((struct buffer){0})

/* -1: out of memory, nothing has changed. */
int buffer_reserve(struct buffer *, size_t more);
int buffer_add(struct buffer *, const void *data, size_t size);
int buffer_add_text(struct buffer *, const char *text);
int buffer_format(struct buffer *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Adds `text` as a JSON string with its quotes; bytes that are no UTF-8 become U+FFFD. */
int buffer_add_json(struct buffer *, const char *text, size_t size);
void buffer_clear(struct buffer *); /* keeps the memory */
void buffer_free(struct buffer *);  /* back to BUFFER_EMPTY */

#endif
