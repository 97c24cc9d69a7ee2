/* What the tests of host/process share: a loop with workers and a supervisor, children, and what must be zero
 * at the end. Every child writes into a pipe; its end of file proves that no process of the tree is left,
 * whoever it is. */
#ifndef MOONRUNNER_SPEC_PROCESS_FIXTURE_H
#define MOONRUNNER_SPEC_PROCESS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "base/fault.h"
#include "base/mailbox.h"
#include "base/worker.h"
#include "process/process.h"

#define LIMIT_MS 60000 /* far more than anything here takes, also under a sanitizer on a busy machine */

struct house {
    uv_loop_t loop;
    uv_async_t wake;
    uv_timer_t limit;
    struct mailbox mailbox;
    struct worker_pool *pool;
    struct supervisor *supervisor;
    int fds; /* open when the test began */
};

/* One child: what it wrote so far, and how it ended. */
struct ran {
    struct process *process;
    struct process_end end;
    int pipe, input; /* input: the child's stdin, -1: none */
    bool ended, pipe_ended;
    size_t size;
    char text[8192];
};

static inline int count_fds(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static inline void house_wake(void *arg)
{
    uv_async_send(arg);
}

static inline void house_on_wake(uv_async_t *async)
{
    mailbox_drain(&((struct house *)async->data)->mailbox);
}

static inline void house_too_late(uv_timer_t *timer)
{
    (void)timer;
    fprintf(stderr, "a test did not end within %d ms\n", LIMIT_MS);
    abort();
}

static inline int house_setup(void **state)
{
    struct err err;
    struct house *house = calloc(1, sizeof *house);
    fault_reset();
    uv_loop_init(&house->loop);
    uv_async_init(&house->loop, &house->wake, house_on_wake);
    house->wake.data = house;
    uv_timer_init(&house->loop, &house->limit);
    uv_timer_start(&house->limit, house_too_late, LIMIT_MS, 0);
    mailbox_init(&house->mailbox, house_wake, &house->wake, &err);
    house->pool = worker_pool_create(&house->mailbox, 1, &err);
    house->supervisor = supervisor_create(&house->loop, house->pool, &err);
    house->fds = count_fds();
    *state = house;
    return house->pool && house->supervisor ? 0 : -1;
}

static inline void assert_nothing_left(struct house *house)
{
    assert_int_equal(supervisor_count(house->supervisor), 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    assert_int_equal(count_fds(), house->fds);
}

static inline int house_teardown(void **state)
{
    struct house *house = *state;
    assert_nothing_left(house);
    supervisor_destroy(house->supervisor);
    assert_int_equal(worker_pool_pending(house->pool), 0);
    worker_pool_destroy(house->pool);
    mailbox_close(&house->mailbox);
    mailbox_drain(&house->mailbox);
    mailbox_fini(&house->mailbox);
    uv_close((uv_handle_t *)&house->wake, NULL);
    uv_close((uv_handle_t *)&house->limit, NULL);
    uv_run(&house->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&house->loop), 0);
    free(house);
    return 0;
}

/* Takes what is in the pipe now. */
static inline void ran_read(struct ran *ran)
{
    char rest[4096];
    while (!ran->pipe_ended) {
        size_t room = sizeof ran->text - 1 - ran->size;
        ssize_t n = read(ran->pipe, room ? ran->text + ran->size : rest, room ? room : sizeof rest);
        if (n < 0)
            break;
        ran->pipe_ended = n == 0;
        ran->size += room ? (size_t)n : 0;
    }
    ran->text[ran->size] = '\0';
}

static inline void ran_on_end(struct process *process, const struct process_end *end, void *arg)
{
    struct ran *ran = arg;
    assert_ptr_equal(process, ran->process);
    assert_false(ran->ended);
    ran->ended = true;
    ran->end = *end;
    ran_read(ran);
    close(ran->pipe);
    if (ran->input >= 0)
        close(ran->input);
}

static char *const no_environment[] = {NULL};
static char *const plain_environment[] = {(char *)"PATH=/usr/local/bin:/usr/bin:/bin", NULL};

/* Starts `spawn`; its output goes to ran unless it has an out_fd, its input can be written when `input` is
 * set. */
static inline struct process *ran_start(struct house *house, struct ran *ran, struct spawn *spawn, bool input,
                                        struct err *err)
{
    int out[2], in[2] = {-1, -1};
    assert_int_equal(pipe2(out, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(fcntl(out[1], F_SETFL, 0), 0);
    if (input)
        assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    *ran = (struct ran){.pipe = out[0], .input = in[1]};
    spawn->on_end = ran_on_end;
    spawn->arg = ran;
    if (spawn->out_fd < 0)
        spawn->out_fd = out[1];
    if (input)
        spawn->stdin_fd = in[0];
    ran->process = process_spawn(house->supervisor, spawn, err);
    close(out[1]);
    if (input)
        close(in[0]);
    if (!ran->process) {
        close(out[0]);
        if (input)
            close(in[1]);
    }
    return ran->process;
}

static inline struct spawn spawn_of(const char *const *argv)
{
    struct spawn spawn = SPAWN_DEFAULT;
    spawn.path = argv[0];
    spawn.argv = (char *const *)argv;
    spawn.envp = plain_environment;
    return spawn;
}

static inline void start_shell(struct house *house, struct ran *ran, const char *script, char *const *envp,
                               uint64_t grace_ms)
{
    struct err err = {0};
    struct spawn spawn = spawn_of((const char *const[]){"/bin/sh", "-c", script, NULL});
    spawn.envp = envp;
    spawn.grace_ms = grace_ms;
    if (!ran_start(house, ran, &spawn, false, &err))
        fail_msg("%s", err.message);
}

static inline void wait_ended(struct house *house, struct ran *ran)
{
    while (!ran->ended)
        uv_run(&house->loop, UV_RUN_ONCE);
}

/* The loop turns until the child has written `text`. */
static inline void wait_output(struct house *house, struct ran *ran, const char *text)
{
    while (ran_read(ran), !strstr(ran->text, text)) {
        assert_false(ran->ended);
        uv_run(&house->loop, UV_RUN_NOWAIT);
        usleep(500); /* between two looks */
    }
}

/* Ended, and at that moment nothing held the pipe any more: the tree was empty. */
static inline void wait_empty(struct house *house, struct ran *ran)
{
    wait_ended(house, ran);
    assert_true(ran->pipe_ended);
}

static inline bool pid_alive(pid_t pid)
{
    char path[32], text[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    const char *end = n > 0 ? strrchr(text, ')') : NULL;
    return end && end[2] != 'Z' && end[2] != 'X';
}

#endif
