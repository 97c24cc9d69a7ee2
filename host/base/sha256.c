/* SHA-256 over OpenSSL. */
#include "base/sha256.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fault.h"

/* struct sha256 is OpenSSL's context under a name of ours; after EVP_DigestInit_ex nothing below can fail. */
static EVP_MD_CTX *context(struct sha256 *digest)
{
    return (EVP_MD_CTX *)digest;
}

static void require(int ok)
{
    if (!ok) {
        fprintf(stderr, "sha256: the digest of libcrypto failed\n");
        abort();
    }
}

struct sha256 *sha256_create(void)
{
    EVP_MD_CTX *c = FAULT("base.sha256") ? NULL : EVP_MD_CTX_new();
    if (c && !EVP_DigestInit_ex(c, EVP_sha256(), NULL)) {
        EVP_MD_CTX_free(c);
        c = NULL;
    }
    return (struct sha256 *)c;
}

void sha256_update(struct sha256 *digest, const void *data, size_t size)
{
    require(EVP_DigestUpdate(context(digest), data, size));
}

void sha256_finish(struct sha256 *digest, unsigned char out[32])
{
    require(EVP_DigestFinal_ex(context(digest), out, NULL));
    EVP_MD_CTX_free(context(digest));
}

void sha256_abandon(struct sha256 *digest)
{
    EVP_MD_CTX_free(context(digest));
}

void sha256_hex_of(const void *data, size_t size, char out[65])
{
    unsigned char digest[32];
    require(EVP_Digest(data, size, digest, NULL, EVP_sha256(), NULL));
    sha256_to_hex(digest, out);
}

void sha256_to_hex(const unsigned char digest[32], char out[65])
{
    for (size_t i = 0; i < 32; i++)
        sprintf(out + 2 * i, "%02x", digest[i]);
}
