/* SHA-256 over OpenSSL. A digest object belongs to one thread at a time. */
#ifndef MOONRUNNER_BASE_SHA256_H
#define MOONRUNNER_BASE_SHA256_H

#include <stddef.h>

struct sha256;

struct sha256 *sha256_create(void); /* NULL: out of memory */
void sha256_update(struct sha256 *, const void *data, size_t size);
/* Writes the digest and frees the object. */
void sha256_finish(struct sha256 *, unsigned char out[32]);
/* Frees without a digest; NULL is allowed. */
void sha256_abandon(struct sha256 *);
/* Digest of one piece, as 64 hexadecimal digits and a NUL. */
void sha256_hex_of(const void *data, size_t size, char out[65]);
void sha256_to_hex(const unsigned char digest[32], char out[65]);

#endif
