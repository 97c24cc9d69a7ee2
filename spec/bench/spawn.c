/* How fast the host starts programs, against a bare vfork loop, at three sizes of the host. One after the
 * other, each awaited to the proof that its tree is empty.
 *
 * Two processes of the same size, one of each kind, take turns of a few programs, so that whatever else runs
 * on the machine slows both alike; the middle one of the ratios counts. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/mailbox.h"
#include "base/worker.h"
#include "process/process.h"

#define PROGRAMS 20 /* in a turn */
#define TURNS 101
#define AIM 0.8

static char *const arguments[] = {(char *)"true", NULL}, *const environment[] = {NULL};

static void fatal(const char *what, const char *why)
{
    fprintf(stderr, "spawn: %s: %s\n", what, why);
    exit(1);
}

/* --- bare ---------------------------------------------------------------------------------------- */

static void bare_one(void)
{
    int status;
    pid_t child = vfork();
    if (child == 0) {
        execve("/bin/true", arguments, environment);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        fatal("/bin/true", strerror(errno));
}

static void bare_turn(void)
{
    for (int i = 0; i < PROGRAMS; i++)
        bare_one();
}

/* --- host ---------------------------------------------------------------------------------------- */

struct bench {
    struct supervisor *supervisor;
    int left;
};

static void start_next(struct bench *bench);

static void on_end(struct process *process, const struct process_end *end, void *arg)
{
    struct bench *bench = arg;
    (void)process;
    if (end->code != 0)
        fatal("/bin/true", "did not end with 0");
    if (--bench->left > 0)
        start_next(bench);
}

static void start_next(struct bench *bench)
{
    struct err err;
    struct spawn spawn = SPAWN_DEFAULT;
    spawn.path = "/bin/true";
    spawn.argv = arguments;
    spawn.envp = environment;
    spawn.on_end = on_end;
    spawn.arg = bench;
    if (!process_spawn(bench->supervisor, &spawn, &err))
        fatal("process_spawn", err.message);
}

static void wake(void *async)
{
    uv_async_send(async);
}

static void drain(uv_async_t *async)
{
    mailbox_drain(async->data);
}

static void host_open(struct bench *bench)
{
    static struct mailbox mailbox;
    static uv_async_t async = {.data = &mailbox};
    struct err err = {0};
    uv_async_init(uv_default_loop(), &async, drain);
    uv_unref((uv_handle_t *)&async);
    mailbox_init(&mailbox, wake, &async, &err);
    struct worker_pool *pool = worker_pool_create(&mailbox, 0, &err);
    bench->supervisor = pool ? supervisor_create(uv_default_loop(), pool, &err) : NULL;
    if (!bench->supervisor)
        fatal("supervisor", err.message);
}

static void host_turn(struct bench *bench)
{
    bench->left = PROGRAMS;
    start_next(bench);
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}

/* --- all of it ----------------------------------------------------------------------------------- */

/* In a process of its own: for every byte that comes, a turn, and its rate as the answer. */
static void serve(int line, bool host, size_t megabytes)
{
    char go, *memory = malloc(megabytes << 20);
    struct bench bench = {0};
    if (!memory)
        fatal("memory", strerror(errno));
    memset(memory, 1, megabytes << 20);
    if (host)
        host_open(&bench);
    while (read(line, &go, 1) == 1) {
        uint64_t start = clock_monotonic_us();
        if (host)
            host_turn(&bench);
        else
            bare_turn();
        double rate = PROGRAMS * 1e6 / (double)(clock_monotonic_us() - start);
        if (write(line, &rate, sizeof rate) != sizeof rate)
            break;
    }
    _exit(memory[1] == 1 ? 0 : 1); /* read: it must not be optimised away */
}

static int start_server(bool host, size_t megabytes)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        fatal("socketpair", strerror(errno));
    pid_t pid = fork();
    if (pid < 0)
        fatal("fork", strerror(errno));
    if (pid == 0) {
        close(ends[0]);
        serve(ends[1], host, megabytes);
    }
    close(ends[1]);
    return ends[0];
}

static double ask(int line)
{
    double rate;
    if (write(line, "x", 1) != 1 || read(line, &rate, sizeof rate) != sizeof rate)
        fatal("a turn", "failed");
    return rate;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double compare_at(size_t megabytes)
{
    double host[TURNS], bare[TURNS], ratio[TURNS];
    int host_line = start_server(true, megabytes), bare_line = start_server(false, megabytes);
    ask(host_line); /* the first ones read the program from the disk */
    ask(bare_line);
    for (int i = 0; i < TURNS; i++) {
        bare[i] = ask(bare_line);
        host[i] = ask(host_line);
        ratio[i] = host[i] / bare[i];
    }
    close(host_line);
    close(bare_line);
    while (wait(NULL) > 0)
        ;
    qsort(host, TURNS, sizeof *host, compare);
    qsort(bare, TURNS, sizeof *bare, compare);
    qsort(ratio, TURNS, sizeof *ratio, compare);
    printf("spawn: %4zu MB: %.0f/s, bare vfork %.0f/s, ratio %.2f (aim %.2f)\n", megabytes, host[TURNS / 2],
           bare[TURNS / 2], ratio[TURNS / 2], AIM);
    fflush(stdout);
    return ratio[TURNS / 2];
}

int main(void)
{
    double small = compare_at(10);
    compare_at(100);
    double large = compare_at(1000);
    printf("spawn: ratio at 1000 MB over that at 10 MB: %.2f (aim 1.00: flat)\n", large / small);
    return 0;
}
