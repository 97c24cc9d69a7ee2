/* An error as a value: a code from the closed list, and a sentence that says what, where and what to do.
 *
 * Functions that can fail return -1 (or NULL) and fill the `struct err` given last. An exit is one line:
 *     return err_set(err, ERR_FILE_NOT_FOUND, "%s: no such file", path); */
#ifndef MOONRUNNER_BASE_ERR_H
#define MOONRUNNER_BASE_ERR_H

#include <stdbool.h>

#include "base/error_codes.h"

enum err_code {
#define X(symbol, name, retryable) symbol,
    ERROR_CODES(X)
#undef X
        ERR_CODE_COUNT
};

struct err {
    enum err_code code;
    bool retryable;    /* from the list; a function that knows better may change it */
    int sys;           /* errno behind it, 0 when there is none */
    char message[480]; /* one sentence, no newline, no trailing stop, no secret */
};

/* "file.not_found" for ERR_FILE_NOT_FOUND. Static text. Any thread. */
const char *err_code_name(enum err_code code);

/* The code with this name, or ERR_CODE_COUNT when the list has none. Any thread. */
enum err_code err_code_find(const char *name);

bool err_code_retryable(enum err_code code);

/* Fills err (may be NULL) and returns -1. Too long a text is cut at a whole UTF-8 character. Any thread. */
int err_set(struct err *err, enum err_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for a failed system call on a file: the code follows from `sys` (ENOENT file.not_found, EEXIST
 * file.exists, EACCES EPERM EROFS file.denied, ENOSPC EDQUOT file.full, ENOTEMPTY file.not_empty, ENOTDIR
 * file.not_directory, ELOOP EISDIR file.not_regular, EWOULDBLOCK file.locked, ENOMEM memory.exhausted, else
 * file.io), and the errno's text is appended: "claims/x: No such file or directory". Returns -1. Any thread.
 */
int err_set_file(struct err *err, int sys, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts "TEXT: " before the message of a set error; the code stays. Returns -1. Any thread. */
int err_prefix(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
