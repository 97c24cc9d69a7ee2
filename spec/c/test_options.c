/* options: one table, three sources, and every error at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "options.h"

/* A table of its own, with every type: the real one may change without touching these tests. */
static const struct option entries[] = {
    {.group = "One"},
    {.name = "config",
     .type = OPTION_PATH,
     .standard = "${XDG_CONFIG_HOME:-~/.config}/m/config.yaml",
     .off = "none",
     .help = "File."},
    {.name = "queue.folder",
     .type = OPTION_PATH,
     .standard = "${STUDIOML_HOME:-~/.studioml}/queue",
     .off = "none",
     .help = "Folder."},
    {.name = "queue.url", .type = OPTION_TEXT, .standard = "off", .off = "none", .help = "Broker."},
    {.group = "Two"},
    {.name = "max.mem",
     .type = OPTION_BYTES,
     .standard = "off",
     .off = "all",
     .reference = "MAX_MEM",
     .help = "Memory."},
    {.name = "max.cores",
     .type = OPTION_INTEGER,
     .standard = "3",
     .reference = "MAX_CORES",
     .help = "Cores."},
    {.name = "grace", .type = OPTION_DURATION, .standard = "10s", .off = "none", .help = "Grace."},
    {.name = "debug-mode", .type = OPTION_BOOLEAN, .standard = "false", .help = "Debug."},
    {.name = "inherit", .type = OPTION_LIST, .standard = "PATH,LANG", .off = "none", .help = "Names."},
    {.name = "form", .type = OPTION_TEXT, .standard = "auto", .choices = "auto|json|human", .help = "Form."},
};
static const struct option_table table = {entries, sizeof entries / sizeof *entries};

struct world {
    char dir[32], file[64], home[64], xdg[64];
    char *environment[16];
    size_t n_environment;
    struct buffer errors;
    struct options *options;
};

static void set_variable(struct world *w, char *variable)
{
    assert_true(w->n_environment < 15);
    w->environment[w->n_environment++] = variable;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    strcpy(w->dir, "/tmp/options-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->file, sizeof w->file, "%s/config.yaml", w->dir);
    snprintf(w->home, sizeof w->home, "HOME=%s", w->dir);
    set_variable(w, w->home);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    options_free(w->options);
    buffer_free(&w->errors);
    unlink(w->file);
    assert_int_equal(rmdir(w->dir), 0);
    free(w);
    fault_reset();
    return 0;
}

static void write_file(struct world *w, const char *text, size_t size)
{
    FILE *f = fopen(w->file, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, size, f), size);
    fclose(f);
}

/* Loads with the given arguments after --config FILE, when there is a file. */
static bool load(struct world *w, const char *yaml, int n, char *const *arguments)
{
    char config[] = "--config";
    char *all[16];
    int total = 0;
    if (yaml) {
        write_file(w, yaml, strlen(yaml));
        all[total++] = config;
        all[total++] = w->file;
    }
    for (int i = 0; i < n; i++)
        all[total++] = arguments[i];
    options_free(w->options);
    buffer_clear(&w->errors);
    w->options = options_load(&table, total, all, w->environment, &w->errors);
    assert_true((w->options == NULL) == (w->errors.size > 0));
    return w->options != NULL;
}
#define ARGUMENTS(...)                                                                                       \
    (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),                                           \
        (char *const *)(uintptr_t)(const char *[])                                                           \
    {                                                                                                        \
        __VA_ARGS__                                                                                          \
    }
#define NO_ARGUMENTS 0, NULL

static void must_load(struct world *w, const char *yaml, int n, char *const *arguments)
{
    if (!load(w, yaml, n, arguments))
        fail_msg("%s", w->errors.data);
}

/* The expected lines have @ where the file's name is. */
static void must_fail(struct world *w, const char *yaml, int n, char *const *arguments, const char *lines)
{
    char expected[4096] = "";
    if (load(w, yaml, n, arguments))
        fail_msg("accepted");
    for (size_t used = 0; *lines; lines++) {
        char one[] = {*lines, '\0'};
        used +=
            (size_t)snprintf(expected + used, sizeof expected - used, "%s", *lines == '@' ? w->file : one);
    }
    assert_string_equal(w->errors.data, expected);
}

static void assert_list(struct world *w, const char *joined)
{
    size_t n;
    const char *const *items = options_list(w->options, "inherit", &n);
    char text[256] = "";
    for (size_t i = 0; i < n; i++) {
        strcat(text, i ? "|" : "");
        strcat(text, items[i]);
    }
    assert_string_equal(text, joined);
}

static void without_any_source_the_defaults_hold(void **state)
{
    struct world *w = *state;
    char folder[96];
    must_load(w, NULL, NO_ARGUMENTS);
    snprintf(folder, sizeof folder, "%s/.studioml/queue", w->dir);
    assert_string_equal(options_text(w->options, "queue.folder"), folder);
    assert_null(options_text(w->options, "queue.url"));
    assert_int_equal(options_integer(w->options, "max.mem"), 0);
    assert_int_equal(options_integer(w->options, "max.cores"), 3);
    assert_int_equal(options_integer(w->options, "grace"), 10000);
    assert_false(options_boolean(w->options, "debug-mode"));
    assert_string_equal(options_text(w->options, "form"), "auto");
    assert_list(w, "PATH|LANG");
}

static void the_default_of_a_path_follows_the_environment(void **state)
{
    struct world *w = *state;
    char variable[] = "STUDIOML_HOME=/data/studioml";
    set_variable(w, variable);
    must_load(w, NULL, NO_ARGUMENTS);
    assert_string_equal(options_text(w->options, "queue.folder"), "/data/studioml/queue");
}

static void the_command_line_wins_over_the_environment_and_that_over_the_file(void **state)
{
    struct world *w = *state;
    char variable[] = "MOONRUNNER_GRACE=20s", reference[] = "MAX_CORES=5",
         prefixed[] = "MOONRUNNER_MAX_CORES=6";
    must_load(w, "grace: 30s\nmax: {cores: 4}\n", NO_ARGUMENTS);
    assert_int_equal(options_integer(w->options, "grace"), 30000);
    assert_int_equal(options_integer(w->options, "max.cores"), 4);
    set_variable(w, variable);
    set_variable(w, reference);
    must_load(w, "grace: 30s\nmax: {cores: 4}\n", NO_ARGUMENTS);
    assert_int_equal(options_integer(w->options, "grace"), 20000);
    assert_int_equal(options_integer(w->options, "max.cores"), 5);
    set_variable(w, prefixed);
    must_load(w, "grace: 30s\nmax: {cores: 4}\n", ARGUMENTS("--grace", "40s"));
    assert_int_equal(options_integer(w->options, "grace"), 40000);
    assert_int_equal(options_integer(w->options, "max.cores"), 6);
}

static void a_name_may_be_spelt_with_any_case_and_any_of_the_three_separators(void **state)
{
    struct world *w = *state;
    static const char *const spellings[] = {"--queue-folder", "-queue-folder", "--queue.folder",
                                            "--queue_folder", "--Queue.FOLDER"};
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        must_load(w, NULL, ARGUMENTS(spellings[i], "/q"));
        assert_string_equal(options_text(w->options, "queue.folder"), "/q");
    }
    must_load(w, NULL, ARGUMENTS("--queue-folder=/q=1"));
    assert_string_equal(options_text(w->options, "queue.folder"), "/q=1");
    static const char *const files[] = {"queue: {folder: /q}", "queue:\n  folder: /q\n", "queue.folder: /q",
                                        "queue_folder: '/q'", "Queue: {Folder: \"/q\"}"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        must_load(w, files[i], NO_ARGUMENTS);
        assert_string_equal(options_text(w->options, "queue.folder"), "/q");
    }
    char variable[] = "MOONRUNNER_QUEUE_FOLDER=/e";
    set_variable(w, variable);
    must_load(w, NULL, NO_ARGUMENTS);
    assert_string_equal(options_text(w->options, "queue.folder"), "/e");
}

static void without_the_prefix_only_the_references_names_are_read(void **state)
{
    struct world *w = *state;
    char a[] = "GRACE=1h", b[] = "DEBUG_MODE=nonsense", c[] = "DEBUG=1", d[] = "MOONRUNNER_NO_SUCH_OPTION=1",
         e[] = "MAX_MEM=2gb", f[] = "no equals sign", g[] = "MOONRUNNER_HOME=/x", h[] = "=odd";
    char *const all[] = {a, b, c, d, e, f, g, h};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        set_variable(w, all[i]);
    must_load(w, NULL, NO_ARGUMENTS);
    assert_int_equal(options_integer(w->options, "grace"), 10000);
    assert_false(options_boolean(w->options, "debug-mode"));
    assert_int_equal(options_integer(w->options, "max.mem"), 2000000000);
}

static void an_empty_variable_is_unset(void **state)
{
    struct world *w = *state;
    char a[] = "MOONRUNNER_GRACE=", b[] = "MAX_CORES=", c[] = "STUDIOML_HOME=";
    set_variable(w, a);
    set_variable(w, b);
    set_variable(w, c);
    must_load(w, "grace: 5s", NO_ARGUMENTS);
    assert_int_equal(options_integer(w->options, "grace"), 5000);
    assert_int_equal(options_integer(w->options, "max.cores"), 3);
    assert_non_null(strstr(options_text(w->options, "queue.folder"), "/.studioml/queue"));
}

static void off_switches_off_where_that_means_something(void **state)
{
    struct world *w = *state;
    must_load(w, "grace: off\ninherit: OFF\nqueue: {folder: off}\nmax.mem: 0gb", NO_ARGUMENTS);
    assert_int_equal(options_integer(w->options, "grace"), 0);
    assert_int_equal(options_integer(w->options, "max.mem"), 0);
    assert_null(options_text(w->options, "queue.folder"));
    assert_list(w, "");
    must_fail(w, "max.cores: off\nform: off", NO_ARGUMENTS,
              "@:1: max.cores: it can not be switched off\n@:2: form: it can not be switched off\n");
    must_fail(w, "max.cores: 0", NO_ARGUMENTS, "@:1: max.cores: \"0\" is not above 0\n");
}

static void a_tilde_that_no_shell_replaced_makes_no_folder_of_that_name(void **state)
{
    struct world *w = *state;
    must_fail(
        w, "queue.folder: ~/q", NO_ARGUMENTS,
        "@:1: queue.folder: \"~/q\" begins with ~, which only a shell replaces, and only at the start of "
        "a word: write the whole path, or $HOME in a shell\n");
}

static void booleans_need_no_value_on_the_command_line(void **state)
{
    struct world *w = *state;
    must_load(w, NULL, ARGUMENTS("--debug-mode", "--grace", "1s"));
    assert_true(options_boolean(w->options, "debug-mode"));
    must_load(w, "debug_mode: yes", NO_ARGUMENTS);
    assert_true(options_boolean(w->options, "debug-mode"));
    must_load(w, "debug_mode: on", ARGUMENTS("--no-debug-mode"));
    assert_false(options_boolean(w->options, "debug-mode"));
    must_load(w, "debug_mode: True", ARGUMENTS("--debug-mode=off"));
    assert_false(options_boolean(w->options, "debug-mode"));
    must_fail(w, "debug_mode: perhaps", NO_ARGUMENTS,
              "@:1: debug_mode: \"perhaps\" is neither true nor false\n");
    must_fail(w, NULL, ARGUMENTS("--no-debug-mode=1", "--no-grace"),
              "--no-debug-mode: takes no value\n--no-grace: unknown option; did you mean --grace?\n");
}

static void a_list_is_written_with_commas_or_as_yaml(void **state)
{
    struct world *w = *state;
    must_load(w, NULL, ARGUMENTS("--inherit", " A, B ,,C "));
    assert_list(w, "A|B|C");
    must_load(w, "inherit: [A, 'B C']", NO_ARGUMENTS);
    assert_list(w, "A|B C");
    must_load(w, "inherit:\n  - A\n  - \"x,y\"\n", NO_ARGUMENTS);
    assert_list(w, "A|x,y");
    must_load(w, "inherit: []", NO_ARGUMENTS);
    assert_list(w, "");
    must_load(w, "inherit: A,B", ARGUMENTS("--inherit=Z"));
    assert_list(w, "Z");
}

static void a_yaml_value_of_nothing_leaves_the_default(void **state)
{
    struct world *w = *state;
    must_load(w, "grace:\nmax: ~\nqueue: {folder: null, url: }\n", NO_ARGUMENTS);
    assert_int_equal(options_integer(w->options, "grace"), 10000);
    must_load(w, "", NO_ARGUMENTS);
    must_load(w, "# only a remark\n", NO_ARGUMENTS);
    must_load(w, "---\n", NO_ARGUMENTS);
    must_fail(w, "grace: ''", NO_ARGUMENTS, "@:1: grace: its value is empty; `off` switches it off\n");
    must_load(w, "queue.url: '~'", NO_ARGUMENTS);
    assert_string_equal(options_text(w->options, "queue.url"), "~");
}

static void every_error_is_reported_at_once_with_file_and_line(void **state)
{
    struct world *w = *state;
    char variable[] = "MAX_MEM=lots";
    set_variable(w, variable);
    must_fail(w,
              "grace: 5\n"
              "queue:\n"
              "  foldr: /q\n"
              "form: xml\n"
              "max: {cores: -1}\n",
              ARGUMENTS("--gracee", "5s", "stray", "--max-cores"),
              "--gracee: unknown option; did you mean --grace?\n"
              "stray: is no option; options begin with a dash\n"
              "--max-cores: its value is missing\n"
              "MAX_MEM: \"lots\" is no number of bytes: it begins with no number from 0; write 512mb, 2g or "
              "1.5GiB\n"
              "@:1: grace: \"5\" is no duration: a unit is missing; write 1h30m, 90s or 500ms\n"
              "@:3: queue.foldr: unknown option; did you mean queue.folder?\n"
              "@:4: form: \"xml\" is none of auto|json|human\n"
              "@:5: max.cores: \"-1\" is no whole number from 0\n");
}

static void a_name_given_twice_in_the_file_is_an_error_however_it_is_spelt(void **state)
{
    struct world *w = *state;
    must_fail(w, "grace: 1s\nform: json\nGRACE: 2s\n", NO_ARGUMENTS,
              "@:3: GRACE: given again (first in line 1)\n");
    must_fail(w, "queue.folder: /a\nqueue: {folder: /b}\n", NO_ARGUMENTS,
              "@:2: queue.folder: given again (first in line 1)\n");
    must_fail(w, "queue: {folder: /b}\nqueue: {url: x}\n", NO_ARGUMENTS,
              "@:2: queue: given again (first in line 1)\n");
}

static void the_wrong_kind_of_value_is_an_error(void **state)
{
    struct world *w = *state;
    must_fail(w, "grace: {a: 1}\nform: [json]\nqueue: /q\nmax: [1, [2]]\ninherit: [[A], B, {c: d}, '']\n",
              NO_ARGUMENTS,
              "@:1: grace: is an option, not a section\n"
              "@:2: form: takes one value, not a list\n"
              "@:3: queue: is a section; its options belong below it\n"
              "@:4: max: is a section; its options belong below it\n"
              "@:5: inherit: an item of this list is no text\n"
              "@:5: inherit: an item of this list is no text\n"
              "@:5: inherit: an item of this list is no text\n");
    must_fail(w, "- a\n- b\n", NO_ARGUMENTS, "@:1: options should be here, each as `name: value`\n");
    must_fail(w, "just text\n", NO_ARGUMENTS, "@:1: options should be here, each as `name: value`\n");
    must_fail(w, "[a]: 1\ngrace: 1s\n", NO_ARGUMENTS, "@:1: a name of an option should be here\n");
    must_fail(w, "grace: 1s\n---\nform: json\n", NO_ARGUMENTS,
              "@:2: a second document begins here; only one is read\n");
    must_fail(w, "queue.url: \"a\\0b\"\n", NO_ARGUMENTS, "@:1: queue.url: holds a NUL character\n");
    must_fail(w, "nonsense: {a: {b: 1}, grace: 2}\n", NO_ARGUMENTS,
              "@:1: nonsense.a.b: unknown option\n@:1: nonsense.grace: unknown option\n");
    must_fail(w, "config: /x\n", NO_ARGUMENTS, "@:1: config: can not be set in the file that it names\n");
}

static void a_choice_is_one_of_the_words_and_no_part_of_them(void **state)
{
    struct world *w = *state;
    static const char *const wrong[] = {"jso", "jsonn", "auto|json", "|", "JSON", "son"};
    must_load(w, NULL, ARGUMENTS("--form", "human"));
    assert_string_equal(options_text(w->options, "form"), "human");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(load(w, NULL, ARGUMENTS("--form", wrong[i])));
}

static void anchors_and_aliases_are_refused_clearly(void **state)
{
    struct world *w = *state;
    must_fail(w, "grace: &g 1s\nform: json\n", NO_ARGUMENTS,
              "@:1: anchors and aliases (& and *) are not understood here; write the value again\n");
    assert_false(load(w, "grace: &g 1s\nqueue: {url: *g}\ninherit: [*g]\n", NO_ARGUMENTS));
    assert_non_null(strstr(w->errors.data, ":2: anchors"));
    assert_non_null(strstr(w->errors.data, ":3: anchors"));
}

static void an_error_of_syntax_names_its_line(void **state)
{
    struct world *w = *state;
    assert_false(load(w, "grace: 1s\nform: [json\nqueue: x\n", NO_ARGUMENTS));
    assert_non_null(strstr(w->errors.data, "config.yaml:3: "));
    assert_false(load(w, "\tgrace: 1s\n", NO_ARGUMENTS));
    assert_false(load(w, "grace: 1s\xff\n", NO_ARGUMENTS));
}

static void no_depth_of_nesting_hurts(void **state)
{
    struct world *w = *state;
    struct buffer text = BUFFER_EMPTY;
    for (int i = 0; i < 5000; i++)
        buffer_add_text(&text, "{a: ");
    assert_false(load(w, text.data, NO_ARGUMENTS));
    buffer_clear(&text);
    buffer_add_text(&text, "inherit: ");
    for (int i = 0; i < 2000; i++)
        buffer_add_text(&text, "[");
    for (int i = 0; i < 2000; i++)
        buffer_add_text(&text, "]");
    assert_false(load(w, text.data, NO_ARGUMENTS));
    buffer_free(&text);
}

static void a_missing_file_is_an_error_only_when_it_was_named(void **state)
{
    struct world *w = *state;
    must_load(w, NULL, NO_ARGUMENTS);
    must_fail(w, NULL, ARGUMENTS("--config", "/no/such/file.yaml"),
              "/no/such/file.yaml: the configuration can not be read: No such file or directory\n");
    must_fail(w, NULL, ARGUMENTS("--config", "/tmp"),
              "/tmp: the configuration can not be read: Is a directory\n");
    must_load(w, NULL, ARGUMENTS("--config", "off"));
    char variable[] = "MOONRUNNER_CONFIG=/no/such/file.yaml";
    set_variable(w, variable);
    assert_false(load(w, NULL, NO_ARGUMENTS));
}

static void the_default_file_is_found_below_xdg_config_home(void **state)
{
    struct world *w = *state;
    char folder[64], file[96];
    snprintf(w->xdg, sizeof w->xdg, "XDG_CONFIG_HOME=%s", w->dir);
    set_variable(w, w->xdg);
    snprintf(folder, sizeof folder, "mkdir %s/m", w->dir);
    snprintf(file, sizeof file, "%s/m/config.yaml", w->dir);
    assert_int_equal(system(folder), 0);
    FILE *f = fopen(file, "w");
    fputs("grace: 7s\n", f);
    fclose(f);
    must_load(w, NULL, NO_ARGUMENTS);
    unlink(file);
    *strrchr(file, '/') = '\0';
    rmdir(file);
    assert_int_equal(options_integer(w->options, "grace"), 7000);
}

static void a_file_that_can_not_be_read_is_one_clean_error(void **state)
{
    struct world *w = *state;
    static const char *const points[] = {"options.open", "options.read"};
    for (size_t i = 0; i < 2; i++) {
        fault_arm(points[i], 1);
        must_fail(w, "grace: 1s\n", NO_ARGUMENTS,
                  "@: the configuration can not be read: Input/output error\n");
    }
}

/* --- the real table
 * ------------------------------------------------------------------------------------------ */

static char fold(char c)
{
    return c == '.' || c == '_' ? '-' : c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool folds_alike(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (fold(a[i]) != fold(b[i]))
            return false;
        if (a[i] == '\0')
            return true;
    }
    return true;
}

static void no_two_names_fold_alike_and_no_name_is_a_section(void **state)
{
    (void)state;
    for (size_t i = 0; i < option_table.n; i++) {
        const char *a = option_table.entries[i].name;
        for (size_t j = 0; a && j < option_table.n; j++) {
            const char *b = option_table.entries[j].name;
            if (!b || i == j)
                continue;
            if (folds_alike(a, b, strlen(a) + 1))
                fail_msg("%s and %s fold alike", a, b);
            if (folds_alike(a, b, strlen(a)) && b[strlen(a)] == '.')
                fail_msg("%s is an option and a section", a);
        }
    }
}

static void no_option_takes_a_variable_that_means_something_else(void **state)
{
    (void)state;
    static const char *const taken[] = {"home", "run", "attempt", "fault"};
    for (size_t i = 0; i < option_table.n; i++) {
        const char *name = option_table.entries[i].name;
        for (size_t j = 0; name && j < sizeof taken / sizeof *taken; j++)
            assert_false(folds_alike(name, taken[j], strlen(name) + 1));
    }
}

static void the_real_defaults_load_and_every_option_has_its_help(void **state)
{
    struct world *w = *state;
    w->options = options_load(&option_table, 0, NULL, w->environment, &w->errors);
    assert_non_null(w->options);
    assert_int_equal(options_integer(w->options, "message.max-size"), 16 << 20);
    assert_int_equal(options_integer(w->options, "lua.slice"), 1000);
    for (size_t i = 0; i < option_table.n; i++) {
        if (option_table.entries[i].name) {
            size_t length = strlen(option_table.entries[i].help);
            assert_int_equal(option_table.entries[i].help[length - 1], '.');
        }
    }
}

static void count(const struct options *o, const struct option *option, void *arg)
{
    (void)o;
    assert_non_null(option->name);
    ++*(size_t *)arg;
}

static void each_gives_every_option_once(void **state)
{
    struct world *w = *state;
    size_t n = 0;
    must_load(w, NULL, NO_ARGUMENTS);
    options_each(w->options, count, &n);
    assert_int_equal(n, sizeof entries / sizeof *entries - 2); /* less the groups */
}

static void help_shows_every_option_within_80_columns(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    options_help(&option_table, out);
    fclose(out);
    for (size_t i = 0; i < option_table.n; i++) {
        char call[96];
        snprintf(call, sizeof call, "  --%s",
                 option_table.entries[i].name ? option_table.entries[i].name : "");
        assert_non_null(strstr(text, call));
    }
    assert_non_null(strstr(text, "\n      (default 10s; off: kill at once)\n"));
    assert_non_null(strstr(text, "; also MAX_MEM)\n"));
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        if (end - line > 80)
            fail_msg("%.*s", (int)(end - line), line);
        assert_true(end == line || end[-1] != ' ');
    }
    free(text);
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_any_source_the_defaults_hold),
        TEST(the_default_of_a_path_follows_the_environment),
        TEST(the_command_line_wins_over_the_environment_and_that_over_the_file),
        TEST(a_name_may_be_spelt_with_any_case_and_any_of_the_three_separators),
        TEST(without_the_prefix_only_the_references_names_are_read),
        TEST(an_empty_variable_is_unset),
        TEST(off_switches_off_where_that_means_something),
        TEST(a_tilde_that_no_shell_replaced_makes_no_folder_of_that_name),
        TEST(booleans_need_no_value_on_the_command_line),
        TEST(a_list_is_written_with_commas_or_as_yaml),
        TEST(a_yaml_value_of_nothing_leaves_the_default),
        TEST(every_error_is_reported_at_once_with_file_and_line),
        TEST(a_name_given_twice_in_the_file_is_an_error_however_it_is_spelt),
        TEST(the_wrong_kind_of_value_is_an_error),
        TEST(a_choice_is_one_of_the_words_and_no_part_of_them),
        TEST(anchors_and_aliases_are_refused_clearly),
        TEST(an_error_of_syntax_names_its_line),
        TEST(no_depth_of_nesting_hurts),
        TEST(a_missing_file_is_an_error_only_when_it_was_named),
        TEST(the_default_file_is_found_below_xdg_config_home),
        TEST(a_file_that_can_not_be_read_is_one_clean_error),
        cmocka_unit_test(no_two_names_fold_alike_and_no_name_is_a_section),
        cmocka_unit_test(no_option_takes_a_variable_that_means_something_else),
        TEST(the_real_defaults_load_and_every_option_has_its_help),
        TEST(each_gives_every_option_once),
        cmocka_unit_test(help_shows_every_option_within_80_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
