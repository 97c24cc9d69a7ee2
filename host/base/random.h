/* Random bytes from the kernel (getrandom). Any thread. */
#ifndef MOONRUNNER_BASE_RANDOM_H
#define MOONRUNNER_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

void random_bytes(void *out, size_t size);
uint64_t random_u64(void);
/* `digits` lower-case hexadecimal digits and a NUL into out (digits + 1 bytes). */
void random_hex(char *out, size_t digits);
/* A version 4 UUID as 36 characters and a NUL (RFC 9562, section 5.4). */
void random_uuid(char out[37]);

#endif
