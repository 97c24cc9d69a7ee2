/* Options from the command line and from the environment. */
#include <stdlib.h>
#include <string.h>

#include "options_internal.h"

#define NAME_MAX_SIZE 96
#define PREFIX "MOONRUNNER_"

/* Is this --no-NAME of a boolean NAME? Then its index. */
static ptrdiff_t find_negated(const struct option_table *table, const char *name)
{
    if (strncmp(name, "no-", 3) != 0)
        return -1;
    ptrdiff_t index = options_find(table, name + 3);
    return index >= 0 && table->entries[index].type == OPTION_BOOLEAN ? index : -1;
}

/* One option with what follows it; returns how many arguments it took. */
static int read_argument(struct options *o, int n, char *const *arguments)
{
    const char *argument = arguments[0];
    const char *name = argument + (argument[1] == '-' ? 2 : 1);
    const char *equals = strchr(name, '=');
    char known[NAME_MAX_SIZE], place[NAME_MAX_SIZE + 2];
    snprintf(known, sizeof known, "%.*s", equals ? (int)(equals - name) : (int)strlen(name), name);
    snprintf(place, sizeof place, "--%s", known);

    ptrdiff_t index = options_find(o->table, known);
    ptrdiff_t negated = index < 0 ? find_negated(o->table, known) : -1;
    if (negated >= 0) {
        if (equals)
            options_fail(o, "%s: takes no value", place);
        else
            options_set(o, (size_t)negated, RANK_COMMAND_LINE, "false", place);
        return 1;
    }
    if (index < 0) {
        options_fail_unknown(o, place, known, "--");
        /* What follows without a dash is most likely its value. */
        return !equals && n > 1 && arguments[1][0] != '-' ? 2 : 1;
    }
    if (equals) {
        options_set(o, (size_t)index, RANK_COMMAND_LINE, equals + 1, place);
        return 1;
    }
    if (o->table->entries[index].type == OPTION_BOOLEAN) {
        options_set(o, (size_t)index, RANK_COMMAND_LINE, "true", place);
        return 1;
    }
    if (n < 2 || strncmp(arguments[1], "--", 2) == 0) {
        options_fail(o, "%s: its value is missing", place);
        return 1;
    }
    options_set(o, (size_t)index, RANK_COMMAND_LINE, arguments[1], place);
    return 2;
}

void options_read_arguments(struct options *o, int n, char *const *arguments)
{
    for (int i = 0; i < n;) {
        if (arguments[i][0] == '-' && arguments[i][1] != '\0' && strcmp(arguments[i], "--") != 0) {
            i += read_argument(o, n - i, arguments + i);
        } else {
            options_fail(o, "%.200s: is no option; options begin with a dash", arguments[i]);
            i++;
        }
    }
}

void options_read_environment(struct options *o, char *const *environment)
{
    for (; *environment; environment++) {
        const char *equals = strchr(*environment, '=');
        size_t length = equals ? (size_t)(equals - *environment) : 0;
        char name[NAME_MAX_SIZE];
        if (length == 0 || length >= sizeof name || equals[1] == '\0')
            continue;
        snprintf(name, sizeof name, "%.*s", (int)length, *environment);
        bool ours = strncmp(name, PREFIX, strlen(PREFIX)) == 0;
        ptrdiff_t index = ours ? options_find(o->table, name + strlen(PREFIX)) : -1;
        for (size_t i = 0; !ours && i < o->table->n; i++) {
            const char *reference = o->table->entries[i].reference;
            if (reference && strcmp(reference, name) == 0)
                index = (ptrdiff_t)i;
        }
        if (index >= 0)
            options_set(o, (size_t)index, ours ? RANK_ENVIRONMENT : RANK_REFERENCE, equals + 1, name);
    }
}
