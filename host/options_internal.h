/* What the sources of options (command line, environment, YAML file) share with the store of their values. */
#ifndef MOONRUNNER_OPTIONS_INTERNAL_H
#define MOONRUNNER_OPTIONS_INTERNAL_H

#include "options.h"

/* Where a value came from; the greater wins. */
enum rank { RANK_DEFAULT, RANK_FILE, RANK_REFERENCE, RANK_ENVIRONMENT, RANK_COMMAND_LINE };

struct value {
    enum rank rank;
    char *text; /* TEXT, PATH; NULL when off */
    int64_t number;
    bool boolean;
    char **list;
    size_t n;
};

struct options {
    const struct option_table *table;
    struct value *values; /* one an entry */
    struct buffer *errors;
    size_t n_errors;
};

/* Adds one line to the errors. */
void options_fail(struct options *, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The index of the option with this name (folded), -1 when there is none. */
ptrdiff_t options_find(const struct option_table *, const char *name);
/* True when the folded name is a section: the beginning, up to a dot, of some option's name. */
bool options_is_section(const struct option_table *, const char *name);
/* Both folded: equal? */
bool options_same(const char *a, const char *b);
/* Reports an unknown name after `place`, with the nearest known one, written with `dashes` before it. */
void options_fail_unknown(struct options *, const char *place, const char *name, const char *dashes);

/* Parses `text` and keeps it if nothing of a greater rank is there; an error is reported after `place`. */
void options_set(struct options *, size_t index, enum rank, const char *text, const char *place);
/* The same for a list whose items are apart already. */
void options_set_list(struct options *, size_t index, enum rank, const char *const *items, size_t n);

/* The sources; each reports its errors. */
void options_read_arguments(struct options *, int n, char *const *arguments);
void options_read_environment(struct options *, char *const *environment);
/* The YAML file that the option `config` names by now; a missing one is an error unless that is the default.
 */
void options_read_file(struct options *);

#endif
