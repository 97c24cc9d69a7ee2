/* The store of option values: names, parsing by type, precedence, getters. Its sources are options_sources.c
 * (command line and environment) and options_yaml.c. Runs once at start: without memory the program can not
 * begin, and aborts. */
#include "options.h"

#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/quantity.h"
#include "option_table.h"
#include "options_internal.h"

static const struct option entries[] = {
#define GROUP(TITLE) {.group = (TITLE)},
#define OPTION(NAME, TYPE, STANDARD, ...)                                                                    \
    {.name = (NAME), .type = OPTION_##TYPE, .standard = (STANDARD), __VA_ARGS__},
    OPTION_TABLE(GROUP, OPTION)
#undef GROUP
#undef OPTION
};
const struct option_table option_table = {entries, sizeof entries / sizeof *entries};

static void *need(void *memory)
{
    if (!memory) {
        fputs("no memory for the options\n", stderr);
        abort();
    }
    return memory;
}

void options_fail(struct options *o, const char *format, ...)
{
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    o->n_errors++;
    if (buffer_format(o->errors, "%s\n", line) < 0)
        need(NULL);
}

/* --- names
 * --------------------------------------------------------------------------------------------------- */

static char fold(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (char)(c - 'A' + 'a');
    return c == '.' || c == '_' ? '-' : c;
}

bool options_same(const char *a, const char *b)
{
    while (*a && fold(*a) == fold(*b))
        a++, b++;
    return *a == '\0' && *b == '\0';
}

ptrdiff_t options_find(const struct option_table *table, const char *name)
{
    for (size_t i = 0; i < table->n; i++) {
        if (table->entries[i].name && options_same(table->entries[i].name, name))
            return (ptrdiff_t)i;
    }
    return -1;
}

bool options_is_section(const struct option_table *table, const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < table->n; i++) {
        const char *known = table->entries[i].name;
        size_t same = 0;
        while (known && same < length && fold(known[same]) == fold(name[same]))
            same++;
        if (known && same == length && known[length] == '.')
            return true;
    }
    return false;
}

#define NAME_ROOM 64

/* Levenshtein's distance of two folded names; SIZE_MAX for a long one. */
static size_t distance(const char *a, const char *b)
{
    size_t row[NAME_ROOM + 1];
    size_t length = strlen(b);
    if (length > NAME_ROOM)
        return SIZE_MAX;
    for (size_t j = 0; j <= length; j++)
        row[j] = j;
    for (; *a; a++) {
        size_t diagonal = row[0];
        row[0]++;
        for (size_t j = 1; j <= length; j++) {
            size_t best = diagonal + (fold(*a) != fold(b[j - 1]));
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[length];
}

void options_fail_unknown(struct options *o, const char *place, const char *name, const char *dashes)
{
    const char *nearest = NULL;
    size_t best = strlen(name) / 4 + 2; /* farther is no typing error */
    for (size_t i = 0; i < o->table->n; i++) {
        const char *known = o->table->entries[i].name;
        size_t d = known ? distance(name, known) : SIZE_MAX;
        if (d < best) {
            best = d;
            nearest = known;
        }
    }
    if (nearest)
        options_fail(o, "%s: unknown option; did you mean %s%s?", place, dashes, nearest);
    else
        options_fail(o, "%s: unknown option", place);
}

/* --- values
 * -------------------------------------------------------------------------------------------------- */

static void clear(struct value *value)
{
    for (size_t i = 0; i < value->n; i++)
        free(value->list[i]);
    free(value->list);
    free(value->text);
    *value = (struct value){0};
}

/* Is `text` one of a|b|c? */
static bool is_choice(const char *choices, const char *text)
{
    size_t length = strlen(text);
    for (const char *c = choices; c; c = strchr(c, '|')) {
        c += *c == '|';
        if (strcspn(c, "|") == length && strncmp(c, text, length) == 0)
            return true;
    }
    return false;
}

static int parse_boolean(const char *text, bool *boolean, struct err *err)
{
    static const char *const words[] = {"false", "no", "off", "0", "true", "yes", "on", "1"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcasecmp(text, words[i]) == 0) {
            *boolean = i >= 4;
            return 0;
        }
    }
    return err_set(err, ERR_OPTION_INVALID, "\"%.60s\" is neither true nor false", text);
}

static int parse_integer(const char *text, int64_t *number, struct err *err)
{
    int64_t n = 0;
    const char *c = text;
    while (*c >= '0' && *c <= '9' && n < INT64_C(1000000000000000))
        n = n * 10 + (*c++ - '0');
    if (c == text || *c != '\0')
        return err_set(err, ERR_OPTION_INVALID, "\"%.60s\" is no whole number from 0", text);
    *number = n;
    return 0;
}

static int parse_number(enum option_type type, const char *text, int64_t *number, struct err *err)
{
    if (type == OPTION_INTEGER)
        return parse_integer(text, number, err);
    if (type == OPTION_BYTES)
        return quantity_parse_bytes(text, strlen(text), number, err);
    return quantity_parse_duration(text, strlen(text), number, err);
}

static void add_item(struct value *value, const char *item, size_t size)
{
    value->list = need(reallocarray(value->list, value->n + 1, sizeof *value->list));
    value->list[value->n++] = need(strndup(item, size));
}

/* Comma-separated, spaces around an item do not count, nor do empty items. */
static void split_list(const char *text, struct value *value)
{
    while (*text) {
        text += strspn(text, ", \t");
        size_t size = strcspn(text, ",");
        size_t kept = size;
        while (kept > 0 && strchr(" \t", text[kept - 1]))
            kept--;
        if (kept > 0)
            add_item(value, text, kept);
        text += size;
    }
}

/* `text` by the option's type; -1 fills err with what is wrong. `off` leaves the value empty. */
static int parse(const struct option *option, const char *text, struct value *value, struct err *err)
{
    bool off = strcasecmp(text, "off") == 0 && option->type != OPTION_BOOLEAN;
    if (off && !option->off)
        return err_set(err, ERR_OPTION_INVALID, "it can not be switched off");
    if (*text == '\0')
        return err_set(err, ERR_OPTION_INVALID, "its value is empty%s",
                       option->off ? "; `off` switches it off" : "");
    if (off)
        return 0;
    switch (option->type) {
    case OPTION_BOOLEAN:
        return parse_boolean(text, &value->boolean, err);
    case OPTION_LIST:
        split_list(text, value);
        return 0;
    case OPTION_TEXT:
    case OPTION_PATH:
        if (option->choices && !is_choice(option->choices, text))
            return err_set(err, ERR_OPTION_INVALID, "\"%.60s\" is none of %s", text, option->choices);
        if (option->type == OPTION_PATH && *text == '~')
            return err_set(err, ERR_OPTION_INVALID,
                           "\"%.60s\" begins with ~, which only a shell replaces, and only at the start of a "
                           "word: write the whole path, or $HOME in a shell",
                           text);
        value->text = need(strdup(text));
        return 0;
    case OPTION_INTEGER:
    case OPTION_BYTES:
    case OPTION_DURATION:
        break;
    }
    if (parse_number(option->type, text, &value->number, err) < 0)
        return -1;
    if (value->number < 0 || (value->number == 0 && !option->off))
        return err_set(err, ERR_OPTION_INVALID, "\"%.60s\" is not above 0", text);
    return 0;
}

/* Takes over `value` unless a greater rank is there. */
static void keep(struct options *o, size_t index, enum rank rank, struct value value)
{
    if (rank < o->values[index].rank) {
        clear(&value);
        return;
    }
    clear(&o->values[index]);
    value.rank = rank;
    o->values[index] = value;
}

void options_set(struct options *o, size_t index, enum rank rank, const char *text, const char *place)
{
    struct value value = {0};
    struct err err;
    if (parse(&o->table->entries[index], text, &value, &err) < 0)
        options_fail(o, "%s: %s", place, err.message);
    else
        keep(o, index, rank, value);
}

void options_set_list(struct options *o, size_t index, enum rank rank, const char *const *items, size_t n)
{
    struct value value = {0};
    for (size_t i = 0; i < n; i++)
        add_item(&value, items[i], strlen(items[i]));
    keep(o, index, rank, value);
}

/* --- defaults
 * ------------------------------------------------------------------------------------------------ */

static const char *look_up(char *const *environment, const char *name, size_t length)
{
    for (; *environment; environment++) {
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
            return (*environment)[length + 1] ? *environment + length + 1 : NULL;
    }
    return NULL;
}

static void add(struct buffer *out, const char *text, size_t size)
{
    if (buffer_add(out, text, size) < 0)
        need(NULL);
}

static void add_home(struct buffer *out, char *const *environment)
{
    const char *home = look_up(environment, "HOME", 4);
    const struct passwd *user = home ? NULL : getpwuid(getuid());
    if (user)
        home = user->pw_dir;
    add(out, home ? home : "/", home ? strlen(home) : 1);
}

/* Expands a leading ~, ${NAME:-else} (once) and $UID in the default of a path. */
static void expand(const char *text, size_t size, char *const *environment, struct buffer *out)
{
    const char *end = text + size;
    if (text < end && *text == '~') {
        add_home(out, environment);
        text++;
    }
    while (text < end) {
        if (strncmp(text, "$UID", 4) == 0) {
            char uid[16];
            add(out, uid, (size_t)snprintf(uid, sizeof uid, "%u", (unsigned)getuid()));
            text += 4;
        } else if (strncmp(text, "${", 2) == 0) {
            const char *name = text + 2, *otherwise = strstr(name, ":-"), *close = strchr(name, '}');
            const char *found = look_up(environment, name, (size_t)(otherwise - name));
            if (found)
                add(out, found, strlen(found));
            else
                expand(otherwise + 2, (size_t)(close - otherwise - 2), environment, out);
            text = close + 1;
        } else {
            add(out, text++, 1);
        }
    }
}

static void set_default(struct options *o, size_t index, char *const *environment)
{
    const struct option *option = &o->table->entries[index];
    struct buffer text = BUFFER_EMPTY;
    if (option->type == OPTION_PATH)
        expand(option->standard, strlen(option->standard), environment, &text);
    else
        add(&text, option->standard, strlen(option->standard));
    options_set(o, index, RANK_DEFAULT, text.data, option->name);
    buffer_free(&text);
}

struct options *options_load(const struct option_table *table, int n, char *const *arguments,
                             char *const *environment, struct buffer *errors)
{
    struct options *o = need(calloc(1, sizeof *o));
    o->table = table;
    o->values = need(calloc(table->n, sizeof *o->values));
    o->errors = errors;
    for (size_t i = 0; i < table->n; i++) {
        if (table->entries[i].name)
            set_default(o, i, environment);
    }
    options_read_arguments(o, n, arguments);
    options_read_environment(o, environment);
    options_read_file(o);
    o->errors = NULL;
    if (o->n_errors > 0) {
        options_free(o);
        return NULL;
    }
    return o;
}

void options_free(struct options *o)
{
    if (!o)
        return;
    for (size_t i = 0; i < o->table->n; i++)
        clear(&o->values[i]);
    free(o->values);
    free(o);
}

/* --- getters
 * ------------------------------------------------------------------------------------------------- */

static const struct value *get(const struct options *o, const char *name, unsigned types)
{
    for (size_t i = 0; i < o->table->n; i++) {
        const struct option *option = &o->table->entries[i];
        if (option->name && strcmp(option->name, name) == 0 && (types >> option->type & 1))
            return &o->values[i];
    }
    fprintf(stderr, "no option %s of the type that is asked for\n", name);
    abort();
}

const char *options_text(const struct options *o, const char *name)
{
    return get(o, name, 1u << OPTION_TEXT | 1u << OPTION_PATH)->text;
}

int64_t options_integer(const struct options *o, const char *name)
{
    return get(o, name, 1u << OPTION_INTEGER | 1u << OPTION_BYTES | 1u << OPTION_DURATION)->number;
}

bool options_boolean(const struct options *o, const char *name)
{
    return get(o, name, 1u << OPTION_BOOLEAN)->boolean;
}

const char *const *options_list(const struct options *o, const char *name, size_t *n)
{
    const struct value *value = get(o, name, 1u << OPTION_LIST);
    *n = value->n;
    return (const char *const *)value->list;
}

void options_each(const struct options *o, void (*fn)(const struct options *, const struct option *, void *),
                  void *arg)
{
    for (size_t i = 0; i < o->table->n; i++) {
        if (o->table->entries[i].name)
            fn(o, &o->table->entries[i], arg);
    }
}
