/* Errors as values: filling them, and their names. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    bool retryable;
} codes[] = {
#define X(symbol, name, retryable) {name, retryable},
    ERROR_CODES(X)
#undef X
};

const char *err_code_name(enum err_code code)
{
    return (unsigned)code < ERR_CODE_COUNT ? codes[code].name : codes[ERR_INTERNAL].name;
}

enum err_code err_code_find(const char *name)
{
    for (unsigned i = 0; i < ERR_CODE_COUNT; i++) {
        if (strcmp(codes[i].name, name) == 0)
            return (enum err_code)i;
    }
    return ERR_CODE_COUNT;
}

bool err_code_retryable(enum err_code code)
{
    return (unsigned)code < ERR_CODE_COUNT && codes[code].retryable;
}

/* Cuts at `size` bytes, before a character that would be torn. */
static size_t cut_whole(const char *text, size_t size)
{
    while (size > 0 && ((unsigned char)text[size] & 0xc0) == 0x80)
        size--;
    return size;
}

/* A message is one line, whatever a file name or a child's output in it contains. `text` may lie within err.
 */
static void put_message(struct err *err, const char *text)
{
    size_t size = strlen(text);
    if (size >= sizeof err->message)
        size = cut_whole(text, sizeof err->message - 1);
    memmove(err->message, text, size);
    err->message[size] = '\0';
    for (char *c = err->message; *c; c++) {
        if ((unsigned char)*c < ' ')
            *c = ' ';
    }
}

/* Room for one character more than fits a message, so that put_message sees where to cut. */
#define DRAFT_SIZE (sizeof((struct err *)0)->message + 8)

int err_set(struct err *err, enum err_code code, const char *format, ...)
{
    if (!err)
        return -1;
    char draft[DRAFT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(draft, sizeof draft, format, arguments);
    va_end(arguments);
    err->code = code;
    err->retryable = err_code_retryable(code);
    err->sys = 0;
    put_message(err, draft);
    return -1;
}

static enum err_code code_of_errno(int sys)
{
    switch (sys) {
    case ENOENT:
        return ERR_FILE_NOT_FOUND;
    case EEXIST:
        return ERR_FILE_EXISTS;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERR_FILE_DENIED;
    case ENOSPC:
    case EDQUOT:
        return ERR_FILE_FULL;
    case ENOTEMPTY:
        return ERR_FILE_NOT_EMPTY;
    case ENOTDIR:
        return ERR_FILE_NOT_DIRECTORY;
    case ELOOP:
    case EISDIR:
        return ERR_FILE_NOT_REGULAR;
    case EWOULDBLOCK:
        return ERR_FILE_LOCKED;
    case ENOMEM:
        return ERR_NO_MEMORY;
    default:
        return ERR_FILE_IO;
    }
}

int err_set_file(struct err *err, int sys, const char *format, ...)
{
    if (!err)
        return -1;
    char reason[96];
    const char *text = strerror_r(sys, reason, sizeof reason);
    char draft[DRAFT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(draft, sizeof draft, format, arguments);
    va_end(arguments);
    /* A long name must not push the reason out. */
    size_t room = sizeof err->message - 1 - strlen(": ") - strlen(text);
    if (strlen(draft) > room)
        draft[cut_whole(draft, room)] = '\0';
    err_set(err, code_of_errno(sys), "%s: %s", draft, text);
    err->sys = sys;
    return -1;
}

int err_prefix(struct err *err, const char *format, ...)
{
    if (!err)
        return -1;
    char draft[DRAFT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(draft, sizeof draft, format, arguments);
    va_end(arguments);
    size_t used = written < 0 ? 0 : (size_t)written;
    if (used < sizeof draft)
        snprintf(draft + used, sizeof draft - used, ": %s", err->message);
    put_message(err, draft);
    return -1;
}
