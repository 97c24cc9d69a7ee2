/* Log lines: one JSON object a line, or a human form on a terminal; events from the closed list, values as
 * fields.
 *
 * {"time":"2026-11-24T15:38:02.123Z","level":"info","event":"job.started","key":"e1","attempt":1}
 * Any thread; one write(2) a line. No secret may ever be passed as a value. */
#ifndef MOONRUNNER_BASE_LOG_H
#define MOONRUNNER_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/err.h"
#include "base/event_names.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };
enum log_form { LOG_JSON, LOG_HUMAN };

enum log_event {
#define X(symbol, name) symbol,
    EVENT_NAMES(X)
#undef X
        LOG_EVENT_COUNT
};

enum log_kind { LOG_TEXT, LOG_INTEGER, LOG_NUMBER, LOG_BOOLEAN };
struct log_field {
    const char *name;
    enum log_kind kind;
    union {
        struct {
            const char *text;
            size_t size;
        };
        int64_t integer;
        double number;
        bool boolean;
    };
};

/* Before any other thread runs. fd is borrowed; lines below `level` are dropped. */
void log_configure(int fd, enum log_form form, enum log_level level);
bool log_enabled(enum log_level level);
const char *log_event_name(enum log_event event);
enum log_event log_event_find(const char *name); /* LOG_EVENT_COUNT: not in the list */
/* Level by name (debug info warning error); -1 when unknown. */
int log_level_find(const char *name);
void log_write(enum log_level level, enum log_event event, const struct log_field *fields, size_t n);
/* Shorthands for C callers: log_info(EVENT_X, LOG_T("key", key), LOG_I("attempt", 1)); */
#define LOG_T(NAME, TEXT)                                                                                    \
    ((struct log_field){.name = (NAME), .kind = LOG_TEXT, .text = (TEXT), .size = (size_t)-1})
#define LOG_I(NAME, VALUE) ((struct log_field){.name = (NAME), .kind = LOG_INTEGER, .integer = (VALUE)})
#define log_line(LEVEL, EVENT, ...)                                                                          \
    log_write((LEVEL), (EVENT), (struct log_field[]){__VA_ARGS__},                                           \
              sizeof((struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field))
/* Formats one line with its newline into out (exposed for tests). -1: out of memory. */
int log_format(struct buffer *out, enum log_form form, int64_t wall_ms, enum log_level level,
               enum log_event event, const struct log_field *fields, size_t n);

#endif
