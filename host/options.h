/* The program's options: YAML file < environment < command line, one typed table (option_table.h).
 *
 * Names are compared after folding case and . - _, so `--queue-folder`, `-queue-folder`, `--queue.folder`,
 * YAML `queue: {folder: …}` and MOONRUNNER_QUEUE_FOLDER are the same. Unknown names are errors in the file
 * and on the command line, never in the environment; without the prefix MOONRUNNER_ the environment gives
 * only the names that studio-go-runner had. An empty variable is unset. Loaded once at start, read-only
 * after: any thread may read. */
#ifndef MOONRUNNER_OPTIONS_H
#define MOONRUNNER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buffer.h"

enum option_type {
    OPTION_TEXT,
    OPTION_PATH,
    OPTION_BOOLEAN,
    OPTION_INTEGER,
    OPTION_BYTES,
    OPTION_DURATION, /* ms */
    OPTION_LIST,
};

struct option {
    const char *name;
    enum option_type type;
    const char *standard;                         /* the default, as a user would write it */
    const char *help, *off, *choices, *reference; /* NULL: does not apply (option_table.h) */
    const char *group; /* set in an entry that only begins a group; all else is NULL */
};

/* A list of entries, those that begin a group included. */
struct option_table {
    const struct option *entries;
    size_t n;
};
extern const struct option_table option_table;

struct options;

/* Loads all options. arguments: what follows the command's name, n of them. environment: as envp,
 * NULL-terminated. On failure NULL, and `errors` holds every error found, one a line: "config.yaml:3:
 * queue.foldr: unknown option; did you mean queue.folder?". The caller frees errors and, with options_free,
 * the result. */
struct options *options_load(const struct option_table *table, int n, char *const *arguments,
                             char *const *environment, struct buffer *errors);
void options_free(struct options *);

/* Values by exact name. A name that is not in the table, or that has another type, is a bug and aborts.
 * What the table calls `off` is NULL, 0 or an empty list. Texts live as long as the options. */
const char *options_text(const struct options *, const char *name); /* TEXT, PATH */
int64_t options_integer(const struct options *, const char *name);  /* INTEGER, BYTES, DURATION in ms */
bool options_boolean(const struct options *, const char *name);
const char *const *options_list(const struct options *, const char *name, size_t *n);

/* Calls fn for each option in the table's order. fn may leave by longjmp. */
void options_each(const struct options *, void (*fn)(const struct options *, const struct option *, void *),
                  void *arg);

/* Prints every option of the table with its default, in groups, at most 80 columns wide. */
void options_help(const struct option_table *table, FILE *out);

#endif
