/* Options from the YAML file: libyaml's events, so that every error has its line.
 *
 * Sections nest (`queue: {folder: x}`) or are written flat (`queue.folder: x`). No anchors, aliases or second
 * documents: a configuration says each thing once. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include "base/fault.h"
#include "options_internal.h"

#define FILE_MAX_SIZE (256 * 1024) /* a ConfigMap's key is usually far smaller */
#define NAME_MAX_SIZE 96
#define ITEMS_MAX 256

struct seen {
    char *name;
    size_t line;
};

struct file {
    struct options *options;
    const char *path;
    yaml_parser_t parser;
    yaml_event_t event; /* the present one; type YAML_NO_EVENT after an error of syntax */
    struct seen *seen;
    size_t n_seen;
};

static size_t line_of(const struct file *f)
{
    return f->event.start_mark.line + 1;
}

static void fail_line(struct file *f, size_t line, const char *name, const char *what)
{
    if (name)
        options_fail(f->options, "%s:%zu: %s: %s", f->path, line, name, what);
    else
        options_fail(f->options, "%s:%zu: %s", f->path, line, what);
}

static bool has_anchor(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return event->data.scalar.anchor != NULL;
    case YAML_SEQUENCE_START_EVENT:
        return event->data.sequence_start.anchor != NULL;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.anchor != NULL;
    default:
        return event->type == YAML_ALIAS_EVENT;
    }
}

/* The next event into f->event. */
static yaml_event_type_t advance(struct file *f)
{
    bool over = f->event.type == YAML_STREAM_END_EVENT;
    yaml_event_delete(&f->event); /* and clears it */
    if (over || f->parser.error != YAML_NO_ERROR)
        return YAML_NO_EVENT;
    if (!yaml_parser_parse(&f->parser, &f->event)) {
        size_t line = f->parser.problem_mark.line + 1;
        fail_line(f, line, NULL, f->parser.problem ? f->parser.problem : "no valid YAML");
        f->event.type = YAML_NO_EVENT;
    } else if (has_anchor(&f->event)) {
        fail_line(f, line_of(f), NULL,
                  "anchors and aliases (& and *) are not understood here; write the value again");
    }
    return f->event.type;
}

/* Passes the rest of the node that f->event begins. */
static void skip_node(struct file *f)
{
    size_t depth = 0;
    do {
        if (f->event.type == YAML_MAPPING_START_EVENT || f->event.type == YAML_SEQUENCE_START_EVENT)
            depth++;
        else if (f->event.type == YAML_MAPPING_END_EVENT || f->event.type == YAML_SEQUENCE_END_EVENT)
            depth--;
    } while (depth > 0 && advance(f) != YAML_NO_EVENT);
}

/* The present scalar as text; NULL (reported) when it holds a NUL. Valid until the next advance. */
static const char *scalar_text(struct file *f, const char *name)
{
    const char *text = (const char *)f->event.data.scalar.value;
    if (strlen(text) == f->event.data.scalar.length)
        return text;
    fail_line(f, line_of(f), name, "holds a NUL character");
    return NULL;
}

/* Written without quotes as nothing, ~ or null: not set. */
static bool is_null(const struct file *f)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    if (f->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp((const char *)f->event.data.scalar.value, words[i]) == 0)
            return true;
    }
    return false;
}

/* Remembers the name; reports it when it was there before, however it was spelt. */
static void note_name(struct file *f, const char *name, size_t line)
{
    for (size_t i = 0; i < f->n_seen; i++) {
        if (options_same(f->seen[i].name, name)) {
            options_fail(f->options, "%s:%zu: %s: given again (first in line %zu)", f->path, line, name,
                         f->seen[i].line);
            return;
        }
    }
    struct seen *grown = reallocarray(f->seen, f->n_seen + 1, sizeof *grown);
    char *copy = strdup(name);
    if (!grown || !copy)
        abort(); /* as in options.c */
    f->seen = grown;
    f->seen[f->n_seen++] = (struct seen){copy, line};
}

static void read_list(struct file *f, size_t index, const char *name)
{
    char *items[ITEMS_MAX];
    size_t n = 0;
    bool wrong = false;
    while (advance(f) != YAML_SEQUENCE_END_EVENT && f->event.type != YAML_NO_EVENT) {
        const char *text = f->event.type == YAML_SCALAR_EVENT ? scalar_text(f, name) : NULL;
        if (!text || *text == '\0' || n == ITEMS_MAX) {
            fail_line(f, line_of(f), name,
                      n == ITEMS_MAX ? "too many items" : "an item of this list is no text");
            wrong = true;
            skip_node(f);
        } else if (!(items[n++] = strdup(text))) {
            abort();
        }
    }
    if (!wrong)
        options_set_list(f->options, index, RANK_FILE, (const char *const *)items, n);
    while (n > 0)
        free(items[--n]);
}

/* The value of a known option is f->event. */
static void read_option(struct file *f, size_t index, const char *name, size_t line)
{
    const struct option *option = &f->options->table->entries[index];
    if (strcmp(option->name, "config") == 0) {
        fail_line(f, line, name, "can not be set in the file that it names");
        skip_node(f);
    } else if (f->event.type == YAML_SCALAR_EVENT) {
        char place[4096 + NAME_MAX_SIZE];
        snprintf(place, sizeof place, "%s:%zu: %s", f->path, line, name);
        const char *text = is_null(f) ? NULL : scalar_text(f, name);
        if (text)
            options_set(f->options, index, RANK_FILE, text, place);
    } else if (f->event.type == YAML_SEQUENCE_START_EVENT && option->type == OPTION_LIST) {
        read_list(f, index, name);
    } else if (f->event.type != YAML_ALIAS_EVENT) { /* that was reported */
        fail_line(f, line, name,
                  f->event.type == YAML_MAPPING_START_EVENT ? "is an option, not a section"
                                                            : "takes one value, not a list");
        skip_node(f);
    }
}

static void read_section(struct file *f, const char *section);

/* The value of what is no option is f->event: a section, or unknown. */
static void read_other(struct file *f, const char *name, size_t line)
{
    bool known = options_is_section(f->options->table, name);
    bool empty = f->event.type == YAML_SCALAR_EVENT && is_null(f);
    if (f->event.type == YAML_MAPPING_START_EVENT) {
        read_section(f, name); /* of an unknown section, each option is reported */
    } else if (known && !empty) {
        fail_line(f, line, name, "is a section; its options belong below it");
        skip_node(f);
    } else if (!known) {
        char place[4096 + NAME_MAX_SIZE];
        snprintf(place, sizeof place, "%s:%zu: %s", f->path, line, name);
        options_fail_unknown(f->options, place, name, "");
        skip_node(f);
    }
}

/* One key and its value; f->event is the key. */
static void read_member(struct file *f, const char *section)
{
    char name[NAME_MAX_SIZE];
    size_t line = line_of(f);
    const char *key = f->event.type == YAML_SCALAR_EVENT ? scalar_text(f, NULL) : NULL;
    size_t size = key ? (size_t)snprintf(name, sizeof name, "%s%s%s", section, *section ? "." : "", key) : 0;
    if (!key || size >= sizeof name) {
        fail_line(f, line, NULL,
                  key ? "unknown option (its name is very long)" : "a name of an option should be here");
        skip_node(f);
        if (advance(f) != YAML_NO_EVENT)
            skip_node(f);
        return;
    }
    note_name(f, name, line);
    if (advance(f) == YAML_NO_EVENT)
        return;
    ptrdiff_t index = options_find(f->options->table, name);
    if (index >= 0)
        read_option(f, (size_t)index, name, line);
    else
        read_other(f, name, line);
}

/* f->event begins a mapping; depth is bounded by the length of a name. */
static void read_section(struct file *f, const char *section)
{
    while (advance(f) != YAML_MAPPING_END_EVENT && f->event.type != YAML_NO_EVENT)
        read_member(f, section);
}

static void read_stream(struct file *f)
{
    advance(f); /* the stream's start */
    for (size_t documents = 0; advance(f) == YAML_DOCUMENT_START_EVENT; documents++) {
        if (documents > 0) {
            fail_line(f, line_of(f), NULL, "a second document begins here; only one is read");
            return;
        }
        if (advance(f) == YAML_MAPPING_START_EVENT) {
            read_section(f, "");
        } else if (f->event.type != YAML_NO_EVENT && !(f->event.type == YAML_SCALAR_EVENT && is_null(f))) {
            fail_line(f, line_of(f), NULL, "options should be here, each as `name: value`");
            return;
        }
        advance(f); /* the document's end */
    }
}

/* The whole file into text. Returns 0 or an errno. */
static int read_text(const char *path, struct buffer *text)
{
    int fd = FAULT("options.open") ? (errno = EIO, -1) : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int sys = 0;
    for (ssize_t n = 1; n != 0 && sys == 0;) {
        if (text->size > FILE_MAX_SIZE)
            sys = EFBIG;
        else if (buffer_reserve(text, 4096) < 0)
            sys = ENOMEM;
        else if ((n = FAULT("options.read") ? (errno = EIO, -1) : read(fd, text->data + text->size, 4096)) >=
                 0)
            text->size += (size_t)n;
        else if (errno != EINTR)
            sys = errno;
    }
    close(fd);
    return sys;
}

static void parse_text(struct options *o, const char *path, const struct buffer *text)
{
    struct file f = {.options = o, .path = path};
    if (!yaml_parser_initialize(&f.parser))
        abort();
    yaml_parser_set_input_string(&f.parser, (const unsigned char *)text->data, text->size);
    read_stream(&f);
    yaml_event_delete(&f.event);
    yaml_parser_delete(&f.parser);
    while (f.n_seen > 0)
        free(f.seen[--f.n_seen].name);
    free(f.seen);
}

void options_read_file(struct options *o)
{
    ptrdiff_t index = options_find(o->table, "config");
    const char *path = index < 0 ? NULL : o->values[index].text;
    if (!path)
        return;
    struct buffer text = BUFFER_EMPTY;
    int sys = read_text(path, &text);
    bool by_default = o->values[index].rank == RANK_DEFAULT;
    if (sys == 0)
        parse_text(o, path, &text);
    else if (sys != ENOENT || !by_default)
        options_fail(o, "%s: the configuration can not be read: %s", path, strerror(sys));
    buffer_free(&text);
}
