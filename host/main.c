/* moonrunner: starts the parts in order, runs one command as a root task, and takes the parts down again.
 *
 * Order: options, log, loop, mailbox, workers, Lua state, engine, supervisor, account, command. What the
 * commands do is Lua (lualib/cli/). Exit codes: 64 configuration, 70 internal, else the command's. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "account/account.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "base/worker.h"
#include "file/file.h"
#include "lua/command.h"
#include "lua/host.h"
#include "lua/task.h"
#include "option_table.h"
#include "options.h"
#include "process/process.h"

enum { EXIT_CONFIGURATION = 64, EXIT_INTERNAL = 70 };

struct program {
    struct host host;
    uv_loop_t loop;
    uv_async_t wake;
    struct mailbox mailbox;
    struct options *options;
    lua_State *L;
    char home[PATH_MAX];
    bool ended;
    int exit_code;
};

static int fail(const char *what, const struct err *err)
{
    fprintf(stderr, "moonrunner: %s: %s\n", what, err->message);
    return -1;
}

/* --- where lualib, scripts and policies are
 * ------------------------------------------------------------------- */

/* MOONRUNNER_HOME, else ../share/moonrunner from the folder of the program. */
static int find_home(char home[PATH_MAX])
{
    const char *given = getenv("MOONRUNNER_HOME");
    char program[PATH_MAX], candidate[PATH_MAX + 32];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (given != NULL && *given != '\0') {
        snprintf(candidate, sizeof candidate, "%s", given);
    } else if (n > 0) {
        program[n] = '\0';
        *strrchr(program, '/') = '\0';
        snprintf(candidate, sizeof candidate, "%s/../share/moonrunner", program);
    } else {
        return fail("home", &(struct err){.message = "/proc is not mounted; set MOONRUNNER_HOME"});
    }
    char probe[PATH_MAX + 64];
    snprintf(probe, sizeof probe, "%s/lualib/cli/main.lua", candidate);
    if (realpath(candidate, home) != NULL && access(probe, R_OK) == 0)
        return 0;
    fprintf(stderr,
            "moonrunner: %s: no such file; MOONRUNNER_HOME is the folder that holds lualib, scripts and "
            "policies\n",
            probe);
    return -1;
}

/* --- options and log
 * ------------------------------------------------------------------------------------------ */

static bool is_help(int argc, char **argv)
{
    for (int i = 2; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

static void print_run_help(void)
{
    puts("usage: moonrunner run [OPTIONS]\n\n"
         "Serves the queues: takes experiments, runs them within what they were given, brings\n"
         "their results back. TERM or Ctrl-C once: takes nothing new and waits for what runs;\n"
         "twice: stops what runs, saves its results, hands it back; three times: now.\n\n"
         "Options come from a YAML file, then the environment (MOONRUNNER_QUEUE_FOLDER), then\n"
         "the command line (--queue.folder, --queue-folder). The later wins.\n");
    options_help(&option_table, stdout);
}

static int load_options(struct program *program, int argc, char **argv, bool with_arguments)
{
    struct buffer errors = BUFFER_EMPTY;
    program->options = options_load(&option_table, with_arguments ? argc - 2 : 0, argv + 2, environ, &errors);
    if (program->options == NULL)
        fprintf(stderr, "%s", errors.data);
    buffer_free(&errors);
    program->host.options = program->options;
    return program->options == NULL ? -1 : 0;
}

static void open_log(const struct options *options)
{
    const char *form = options_text(options, "log.form");
    bool human = strcmp(form, "human") == 0 || (strcmp(form, "auto") == 0 && isatty(STDERR_FILENO));
    log_configure(STDERR_FILENO, human ? LOG_HUMAN : LOG_JSON,
                  log_level_find(options_text(options, "log.level")));
}

/* --- the parts
 * ------------------------------------------------------------------------------------------------ */

static void wake_loop(void *async)
{
    uv_async_send(async);
}

static void drain_mailbox(uv_async_t *async)
{
    mailbox_drain(async->data);
}

static int open_loop(struct program *program, struct err *err)
{
    uv_loop_init(&program->loop);
    uv_async_init(&program->loop, &program->wake, drain_mailbox);
    program->wake.data = &program->mailbox;
    program->host.loop = &program->loop;
    program->host.mailbox = &program->mailbox;
    if (mailbox_init(&program->mailbox, wake_loop, &program->wake, err) < 0)
        return -1;
    program->host.workers = worker_pool_create(&program->mailbox, 0, err);
    return program->host.workers == NULL ? -1 : 0;
}

static int open_lua(struct program *program, struct err *err)
{
    uint64_t slice_ms = (uint64_t)options_integer(program->options, "lua.slice");
    program->L = command_create_state(program->home, err);
    if (program->L == NULL)
        return -1;
    program->host.engine =
        engine_create(program->L, &program->loop, &(struct engine_limits){.slice_us = slice_ms * 1000}, err);
    if (program->host.engine == NULL)
        return -1;
    program->host.supervisor = supervisor_create(&program->loop, program->host.workers, err);
    if (program->host.supervisor == NULL)
        return -1;
    command_open_host(program->L, &program->host);
    return 0;
}

/* Makes the working folder if it is not there, and opens it. Its usual place is in /tmp, where anybody could
 * have made it before us: it must be ours, or root's as a mounted volume is, and no link. Returns a
 * descriptor, or -1. */
static int open_working_folder(const char *path, struct err *err)
{
    struct dir root;
    struct stat st;
    if (dir_open_root(&root, err) < 0)
        return -1;
    int made = dir_make_path(&root, path, 0700, err);
    dir_close(&root);
    if (made < 0)
        return err_prefix(err, "working-dir");
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set_file(err, errno, "working-dir %s", path);
    if (st.st_uid != geteuid() && st.st_uid != 0) {
        close(fd);
        return err_set(err, ERR_FILE_DENIED, "working-dir %s belongs to the user %u: name another", path,
                       st.st_uid);
    }
    return fd;
}

/* What this host has for jobs; the disk is that of working-dir. */
static int open_account(struct program *program, struct err *err)
{
    const struct options *options = program->options;
    struct amount cap = {.cores = (uint32_t)options_integer(options, "max.cores"),
                         .mem = (uint64_t)options_integer(options, "max.mem"),
                         .disk = (uint64_t)options_integer(options, "max.disk")};
    struct amount reserve = {.mem = CAPACITY_RESERVE_MEMORY};
    struct capacity capacity;
    int fd = open_working_folder(options_text(options, "working-dir"), err);
    if (fd < 0)
        return -1;
    int detected = capacity_detect(&capacity, fd, &cap, &reserve, NULL, err);
    close(fd);
    if (detected < 0)
        return -1;
    program->host.account = account_create(&capacity, err);
    return program->host.account == NULL ? -1 : 0;
}

/* --- the command
 * ---------------------------------------------------------------------------------------------- */

static void command_ended(int exit_code, const struct task_end *end, void *arg)
{
    struct program *program = arg;
    program->ended = true;
    program->exit_code = end->failed ? EXIT_INTERNAL : exit_code;
    if (end->failed)
        fprintf(stderr, "moonrunner: internal error: %s\n%s\n", end->err.message, end->traceback);
}

/* Runs until the command has ended and nothing that it started is left. */
static void run_loop(struct program *program)
{
    while (!program->ended || supervisor_count(program->host.supervisor) > 0 ||
           worker_pool_pending(program->host.workers) > 0)
        uv_run(&program->loop, UV_RUN_ONCE);
}

static void close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void close_parts(struct program *program)
{
    supervisor_destroy(program->host.supervisor);
    worker_pool_destroy(program->host.workers);
    mailbox_close(&program->mailbox);
    mailbox_drain(&program->mailbox);
    mailbox_fini(&program->mailbox);
    engine_destroy(program->host.engine);
    uv_walk(&program->loop, close_handle, NULL);
    uv_run(&program->loop, UV_RUN_DEFAULT);
    command_close_state(program->L);
    uv_loop_close(&program->loop);
    account_destroy(program->host.account);
    options_free(program->options);
}

/* The exit status stands: a signal that comes while the parts are taken down must not become another one. */
static void hold_signals(void)
{
    sigset_t held;
    sigemptyset(&held);
    sigaddset(&held, SIGTERM);
    sigaddset(&held, SIGINT);
    sigprocmask(SIG_BLOCK, &held, NULL);
}

static int run_command(struct program *program, int argc, char **argv, bool is_run)
{
    struct err err;
    /* A log that nobody reads any more must not end the jobs. What they inherit is set back at their start.
     */
    if (is_run)
        signal(SIGPIPE, SIG_IGN);
    if (open_loop(program, &err) < 0 || open_lua(program, &err) < 0) {
        fail("start", &err);
        return EXIT_INTERNAL;
    }
    if (is_run && open_account(program, &err) < 0) {
        fail("start", &err);
        return EXIT_CONFIGURATION;
    }
    if (command_start(program->L, program->host.engine, argc - 1, argv + 1, command_ended, program, &err) <
        0) {
        fail("start", &err);
        return EXIT_INTERNAL;
    }
    run_loop(program);
    hold_signals();
    close_parts(program);
    return program->exit_code;
}

int main(int argc, char **argv)
{
    static struct program program;
    bool is_run = argc > 1 && strcmp(argv[1], "run") == 0;
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        puts("moonrunner " MOONRUNNER_VERSION);
        return 0;
    }
    if (is_run && is_help(argc, argv)) {
        print_run_help();
        return 0;
    }
    /* A job of the same user must not read our environment or memory (design, section 7). */
    prctl(PR_SET_DUMPABLE, 0);
    if (find_home(program.home) < 0 || load_options(&program, argc, argv, is_run) < 0)
        return EXIT_CONFIGURATION;
    program.host.home = program.home;
    open_log(program.options);
    return run_command(&program, argc, argv, is_run);
}
