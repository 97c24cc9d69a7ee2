/* --help: every option, printed from the table that parses them. */
#include <string.h>

#include "options.h"

#define WIDTH 80
#define INDENT 6

static const char *const introduction =
    "Options are given as --name value or --name=value, in a YAML file, or in the environment as MOONRUNNER_ "
    "and "
    "the name in capitals (--queue.folder is MOONRUNNER_QUEUE_FOLDER). The command line wins over the "
    "environment, "
    "and that over the file. The characters . - _ are the same in a name. BYTES are written 512mb, 2g (a "
    "billion "
    "each) or 1.5GiB; a DURATION 1h30m, 90s or 500ms; a LIST with commas.";

/* Words of `text` in lines of WIDTH, each begun by `indent` spaces; *column is where the line stands. */
static void wrap(FILE *out, const char *text, size_t indent, size_t *column)
{
    while (*text) {
        size_t word = strcspn(text, " ");
        if (*column > indent && *column + 1 + word > WIDTH) {
            fputc('\n', out);
            *column = 0;
        }
        if (*column == 0)
            *column = (size_t)fprintf(out, "%*s", (int)indent, "");
        else if (*column > indent)
            *column += (size_t)fprintf(out, " ");
        *column += (size_t)fprintf(out, "%.*s", (int)word, text);
        text += word;
        text += *text == ' ';
    }
}

static void print_call(const struct option *option, FILE *out)
{
    static const char *const words[] = {
        [OPTION_TEXT] = "TEXT",   [OPTION_PATH] = "PATH",         [OPTION_INTEGER] = "NUMBER",
        [OPTION_BYTES] = "BYTES", [OPTION_DURATION] = "DURATION", [OPTION_LIST] = "LIST",
    };
    if (option->type == OPTION_BOOLEAN)
        fprintf(out, "  --%s, --no-%s\n", option->name, option->name);
    else
        fprintf(out, "  --%s %s\n", option->name, option->choices ? option->choices : words[option->type]);
}

static void print_option(const struct option *option, FILE *out)
{
    size_t column = 0;
    char text[512];
    print_call(option, out);
    wrap(out, option->help, INDENT, &column);
    bool off = strcmp(option->standard, "off") == 0 && option->off;
    snprintf(text, sizeof text, "(default %s%s%s%s%s%s%s)", option->standard, off ? ": " : "",
             off ? option->off : "", option->off && !off ? "; off: " : "",
             option->off && !off ? option->off : "", option->reference ? "; also " : "",
             option->reference ? option->reference : "");
    fputc('\n', out);
    column = 0;
    wrap(out, text, INDENT, &column);
    fputc('\n', out);
}

void options_help(const struct option_table *table, FILE *out)
{
    size_t column = 0;
    wrap(out, introduction, 0, &column);
    fputc('\n', out);
    for (size_t i = 0; i < table->n; i++) {
        if (table->entries[i].group)
            fprintf(out, "\n%s:\n", table->entries[i].group);
        else
            print_option(&table->entries[i], out);
    }
}
