/* UTF-8, strictly (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF. Pure; any thread. */
#ifndef MOONRUNNER_BASE_UTF8_H
#define MOONRUNNER_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the whole, valid character at `text` (1 to 4); 0 when there is none within `size`. */
size_t utf8_length(const char *text, size_t size);
/* Writes a code point (a surrogate is written as if it were one) as 1 to 4 bytes; returns how many. */
size_t utf8_put(uint32_t code_point, char out[4]);

#endif
