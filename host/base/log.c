/* Log lines: formatting, and one write(2) for each. */
#include "base/log.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

/* Set once by log_configure before any other thread runs, read by all. */
static struct {
    int fd;
    enum log_form form;
    enum log_level level;
} target = {STDERR_FILENO, LOG_JSON, LOG_INFO};

static const char *const level_names[] = {"debug", "info", "warning", "error"};

static const char *const event_names[] = {
#define X(symbol, name) name,
    EVENT_NAMES(X)
#undef X
};

void log_configure(int fd, enum log_form form, enum log_level level)
{
    target.fd = fd;
    target.form = form;
    target.level = level;
}

bool log_enabled(enum log_level level)
{
    return level >= target.level;
}

const char *log_event_name(enum log_event event)
{
    return event_names[event];
}

enum log_event log_event_find(const char *name)
{
    for (unsigned i = 0; i < LOG_EVENT_COUNT; i++) {
        if (strcmp(event_names[i], name) == 0)
            return (enum log_event)i;
    }
    return LOG_EVENT_COUNT;
}

int log_level_find(const char *name)
{
    for (int i = LOG_DEBUG; i <= LOG_ERROR; i++) {
        if (strcmp(level_names[i], name) == 0)
            return i;
    }
    return -1;
}

static size_t text_size(const struct log_field *field)
{
    return field->size == (size_t)-1 ? strlen(field->text) : field->size;
}

/* The human form quotes only what would be hard to read, or could move the cursor. */
static bool needs_quotes(const char *text, size_t size)
{
    if (size == 0)
        return true;
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c <= ' ' || c == '"' || c == '\\' || c == '=' || c >= 0x7f)
            return true;
    }
    return false;
}

static int add_number(struct buffer *out, double number)
{
    if (!isfinite(number))
        return buffer_add_text(out, "null");
    char text[32];
    snprintf(text, sizeof text, "%.15g", number);
    if (strtod(text, NULL) != number)
        snprintf(text, sizeof text, "%.17g", number);
    return buffer_add_text(out, text);
}

static int add_value(struct buffer *out, enum log_form form, const struct log_field *field)
{
    switch (field->kind) {
    case LOG_INTEGER:
        return buffer_format(out, "%lld", (long long)field->integer);
    case LOG_NUMBER:
        return add_number(out, field->number);
    case LOG_BOOLEAN:
        return buffer_add_text(out, field->boolean ? "true" : "false");
    case LOG_TEXT:
        break;
    }
    if (!field->text)
        return buffer_add_text(out, "null");
    size_t size = text_size(field);
    if (form == LOG_HUMAN && !needs_quotes(field->text, size))
        return buffer_add(out, field->text, size);
    return buffer_add_json(out, field->text, size);
}

static int add_head(struct buffer *out, enum log_form form, int64_t wall_ms, enum log_level level,
                    enum log_event event)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    int milliseconds = (int)(wall_ms % 1000);
    struct tm t;
    char time_text[32];
    if (form == LOG_HUMAN) {
        localtime_r(&seconds, &t);
        strftime(time_text, sizeof time_text, "%H:%M:%S", &t);
        return buffer_format(out, "%s.%03d %-7s %s", time_text, milliseconds, level_names[level],
                             event_names[event]);
    }
    gmtime_r(&seconds, &t);
    strftime(time_text, sizeof time_text, "%Y-%m-%dT%H:%M:%S", &t);
    return buffer_format(out, "{\"time\":\"%s.%03dZ\",\"level\":\"%s\",\"event\":\"%s\"", time_text,
                         milliseconds, level_names[level], event_names[event]);
}

int log_format(struct buffer *out, enum log_form form, int64_t wall_ms, enum log_level level,
               enum log_event event, const struct log_field *fields, size_t n)
{
    int status = add_head(out, form, wall_ms, level, event);
    for (size_t i = 0; status == 0 && i < n; i++) {
        if (form == LOG_HUMAN) {
            status = buffer_format(out, " %s=", fields[i].name);
        } else {
            status = buffer_add_text(out, ",");
            if (status == 0)
                status = buffer_add_json(out, fields[i].name, strlen(fields[i].name));
            if (status == 0)
                status = buffer_add_text(out, ":");
        }
        if (status == 0)
            status = add_value(out, form, &fields[i]);
    }
    return status == 0 ? buffer_add_text(out, form == LOG_HUMAN ? "\n" : "}\n") : -1;
}

/* A log that can not be written must not stop the program: what does not go out is dropped. */
static void write_all(const char *text, size_t size)
{
    while (size > 0) {
        ssize_t n = write(target.fd, text, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return;
        text += n;
        size -= (size_t)n;
    }
}

void log_write(enum log_level level, enum log_event event, const struct log_field *fields, size_t n)
{
    if (!log_enabled(level))
        return;
    int saved = errno;
    struct buffer line = BUFFER_EMPTY;
    int64_t now = clock_wall_ms();
    if (log_format(&line, target.form, now, level, event, fields, n) == 0) {
        write_all(line.data, line.size);
    } else { /* no memory for the fields: the event at least */
        char text[160];
        int size = snprintf(text, sizeof text, "{\"level\":\"%s\",\"event\":\"%s\",\"cut\":true}\n",
                            level_names[level], event_names[event]);
        write_all(text, (size_t)size);
    }
    buffer_free(&line);
    errno = saved;
}
