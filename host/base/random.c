/* Random bytes, identifiers and UUIDs from the kernel. */
#include "base/random.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

void random_bytes(void *out, size_t size)
{
    unsigned char *bytes = out;
    while (size > 0) {
        ssize_t n = getrandom(bytes, size, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) { /* a kernel without getrandom: nothing that we name would be unique */
            perror("getrandom");
            abort();
        }
        bytes += n;
        size -= (size_t)n;
    }
}

uint64_t random_u64(void)
{
    uint64_t value;
    random_bytes(&value, sizeof value);
    return value;
}

void random_hex(char *out, size_t digits)
{
    random_bytes(out, digits);
    for (size_t i = 0; i < digits; i++)
        out[i] = "0123456789abcdef"[(unsigned char)out[i] & 15];
    out[digits] = '\0';
}

void random_uuid(char out[37])
{
    unsigned char b[16];
    random_bytes(b, sizeof b);
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40); /* version 4 */
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80); /* variant */
    char *end = out;
    for (size_t i = 0; i < sizeof b; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *end++ = '-';
        end += sprintf(end, "%02x", b[i]);
    }
}
