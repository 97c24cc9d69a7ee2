/* Byte strings and durations: parsing what people write, and writing what people read. */
#include "base/quantity.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SHOWN_MAX 60 /* of a wrong text in a message */
#define NUMBER_MAX 63

/* Copies the digits and dots of `text` (without commas) as one number for strtod; false when it is none. */
static bool read_decimal(const char *text, size_t size, double *number)
{
    char digits[NUMBER_MAX + 1];
    size_t n = 0, dots = 0, figures = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] == ',')
            continue;
        if (n == NUMBER_MAX)
            return false;
        dots += text[i] == '.';
        figures += text[i] != '.';
        digits[n++] = text[i];
    }
    digits[n] = '\0';
    *number = strtod(digits, NULL);
    return figures > 0 && dots <= 1;
}

static bool is_number_part(char c, bool comma)
{
    return (c >= '0' && c <= '9') || c == '.' || (comma && c == ',');
}

/* How many of the leading bytes belong to a number. */
static size_t number_length(const char *text, size_t size, bool comma)
{
    size_t n = 0;
    while (n < size && is_number_part(text[n], comma))
        n++;
    return n;
}

/* --- bytes
 * --------------------------------------------------------------------------------------------------- */

/* The factor of a unit, 0 when there is none of that name. */
static double byte_factor(const char *unit, size_t size)
{
    static const char prefixes[] = "kmgtpe";
    if (size == 0 || (size == 1 && tolower((unsigned char)unit[0]) == 'b'))
        return 1;
    const char *prefix = strchr(prefixes, tolower((unsigned char)unit[0]));
    if (!prefix || !*prefix)
        return 0;
    unit++, size--;
    bool binary = size > 0 && tolower((unsigned char)unit[0]) == 'i';
    unit += binary, size -= binary;
    if (size > 1 || (size == 1 && tolower((unsigned char)unit[0]) != 'b'))
        return 0;
    double factor = 1;
    for (const char *p = prefixes; p <= prefix; p++)
        factor *= binary ? 1024 : 1000;
    return factor;
}

static int bytes_wrong(const char *text, size_t size, const char *what, struct err *err)
{
    return err_set(err, ERR_BYTES_INVALID, "\"%.*s\" is no number of bytes: %s; write 512mb, 2g or 1.5GiB",
                   (int)(size < SHOWN_MAX ? size : SHOWN_MAX), text, what);
}

int quantity_parse_bytes(const char *text, size_t size, int64_t *bytes, struct err *err)
{
    size_t digits = number_length(text, size, true);
    double number;
    if (size == 0)
        return bytes_wrong(text, size, "it is empty", err);
    if (!read_decimal(text, digits, &number))
        return bytes_wrong(text, size, "it begins with no number from 0", err);
    size_t start = digits, end = size;
    while (start < end && isspace((unsigned char)text[start]))
        start++;
    while (end > start && isspace((unsigned char)text[end - 1]))
        end--;
    double factor = byte_factor(text + start, end - start);
    if (factor == 0)
        return bytes_wrong(text, size, "its unit is unknown", err);
    if (number * factor >= 0x1p63)
        return bytes_wrong(text, size, "it is too large", err);
    *bytes = (int64_t)(number * factor);
    return 0;
}

void quantity_format_bytes(int64_t bytes, char out[QUANTITY_TEXT_SIZE])
{
    static const char *const byte_units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    size_t unit = 0;
    /* From 1023.95 on, one decimal would be shown as 1024.0. */
    while (value >= 1023.95 && unit < sizeof byte_units / sizeof *byte_units - 1) {
        value /= 1024;
        unit++;
    }
    int tenths = (int)(value * 10 + 0.5);
    snprintf(out, QUANTITY_TEXT_SIZE, "%.*f %s", tenths % 10 != 0, tenths / 10.0, byte_units[unit]);
}

/* --- durations
 * ----------------------------------------------------------------------------------------------- */

static const struct unit {
    const char *name;
    double ns;
} units[] = {
    {"ns", 1},   {"us", 1e3}, {"\xc2\xb5s", 1e3}, {"\xce\xbcs", 1e3},
    {"ms", 1e6}, {"s", 1e9},  {"m", 60e9},        {"h", 3600e9},
};

#define NS_MAX 9.2e18 /* as Go: 292 years */

static int duration_wrong(const char *text, size_t size, const char *what, struct err *err)
{
    return err_set(err, ERR_DURATION_INVALID, "\"%.*s\" is no duration: %s; write 1h30m, 90s or 500ms",
                   (int)(size < SHOWN_MAX ? size : SHOWN_MAX), text, what);
}

static const struct unit *find_unit(const char *name, size_t size)
{
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strlen(units[i].name) == size && strncasecmp(units[i].name, name, size) == 0)
            return &units[i];
    }
    return NULL;
}

/* One part, number and unit, as nanoseconds. Returns NULL, or what is wrong with it. */
static const char *read_part(const char *text, size_t size, size_t *at, double *ns)
{
    size_t digits = number_length(text + *at, size - *at, false);
    double number;
    if (!read_decimal(text + *at, digits, &number))
        return "a number is missing or is none";
    *at += digits;
    size_t name = *at;
    while (*at < size && !is_number_part(text[*at], false) && text[*at] != '-' && text[*at] != '+')
        (*at)++;
    const struct unit *unit = find_unit(text + name, *at - name);
    if (*at == name)
        return "a unit is missing";
    if (!unit)
        return "its unit is unknown (there are ns us ms s m h)";
    *ns = number * unit->ns;
    return *ns <= NS_MAX ? NULL : "it is too long";
}

/* Away from 0. Rounded to microseconds first: 0.1 of an hour is not exact in binary, and must not become a
 * millisecond more. */
static int64_t whole_milliseconds(double ns)
{
    double size = ns < 0 ? -ns : ns;
    int64_t us = (int64_t)(size / 1e3 + 0.5);
    if (us == 0 && size > 0)
        us = 1;
    int64_t ms = us / 1000 + (us % 1000 != 0);
    return ns < 0 ? -ms : ms;
}

int quantity_parse_duration(const char *text, size_t size, int64_t *ms, struct err *err)
{
    double total = 0, sign = 1;
    size_t at = 0;
    if (size == 0)
        return duration_wrong(text, size, "it is empty", err);
    while (at < size) {
        if (text[at] == '-' || text[at] == '+')
            sign = text[at++] == '-' ? -1 : 1;
        if (size - at == 1 && text[at] == '0' && at <= 1)
            break; /* a bare 0 needs no unit */
        double ns;
        const char *wrong = read_part(text, size, &at, &ns);
        if (wrong)
            return duration_wrong(text, size, wrong, err);
        total += sign * ns;
        if (total > NS_MAX || total < -NS_MAX)
            return duration_wrong(text, size, "it is too long", err);
    }
    *ms = whole_milliseconds(total);
    return 0;
}

static void two_units(int64_t amount, int64_t per, const char *large, const char *small,
                      char out[QUANTITY_TEXT_SIZE])
{
    if (amount % per == 0)
        snprintf(out, QUANTITY_TEXT_SIZE, "%" PRId64 " %s", amount / per, large);
    else
        snprintf(out, QUANTITY_TEXT_SIZE, "%" PRId64 " %s %" PRId64 " %s", amount / per, large, amount % per,
                 small);
}

void quantity_format_duration(int64_t ms, char out[QUANTITY_TEXT_SIZE])
{
    const int64_t second = 1000, minute = 60 * second, hour = 60 * minute, day = 24 * hour;
    if (ms < second)
        snprintf(out, QUANTITY_TEXT_SIZE, "%" PRId64 " ms", ms);
    else if (ms < minute && ms / 100 * 100 % second == 0)
        snprintf(out, QUANTITY_TEXT_SIZE, "%" PRId64 " s", ms / second);
    else if (ms < minute)
        snprintf(out, QUANTITY_TEXT_SIZE, "%" PRId64 ".%" PRId64 " s", ms / second, ms % second / 100);
    else if (ms < hour)
        two_units(ms / second, 60, "min", "s", out);
    else if (ms < day)
        two_units(ms / minute, 60, "h", "min", out);
    else
        two_units(ms / hour, 24, "d", "h", out);
}
