/* Starting a process: what it gets, what it does not get, and what a failure leaves behind. */
#include "process_fixture.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static void run(struct house *house, struct ran *ran, struct spawn *spawn)
{
    struct err err = {0};
    if (!ran_start(house, ran, spawn, false, &err))
        fail_msg("%s", err.message);
    wait_empty(house, ran);
}

static void run_shell(struct house *house, struct ran *ran, const char *script)
{
    start_shell(house, ran, script, plain_environment, 0);
    wait_empty(house, ran);
}

static void the_environment_is_exactly_what_was_given(void **state)
{
    struct ran ran;
    struct spawn spawn = spawn_of((const char *const[]){"/usr/bin/env", NULL});
    char *const envp[] = {(char *)"A=1", (char *)"B=two words", NULL};
    setenv("MOONRUNNER_TEST_SECRET", "x", 1);
    spawn.envp = envp;
    run(*state, &ran, &spawn);
    assert_string_equal(ran.text, "A=1\nB=two words\n");
    spawn.envp = no_environment;
    spawn.out_fd = -1;
    run(*state, &ran, &spawn);
    assert_string_equal(ran.text, "");
}

static void arguments_arrive_as_they_are(void **state)
{
    struct ran ran;
    struct spawn spawn =
        spawn_of((const char *const[]){"/usr/bin/printf", "[%s]", "a b", "$HOME", "'\"\n", "", NULL});
    run(*state, &ran, &spawn);
    assert_string_equal(ran.text, "[a b][$HOME]['\"\n][]");
}

static void stdout_and_stderr_are_one_file_in_true_order(void **state)
{
    struct ran ran;
    run_shell(*state, &ran, "echo one; echo two >&2; echo three; echo four >&2");
    assert_string_equal(ran.text, "one\ntwo\nthree\nfour\n");
}

static void stdin_is_empty_unless_it_is_given(void **state)
{
    struct ran ran;
    struct err err;
    run_shell(*state, &ran, "wc -c");
    assert_string_equal(ran.text, "0\n");
    struct spawn spawn = spawn_of((const char *const[]){"/bin/cat", NULL});
    assert_non_null(ran_start(*state, &ran, &spawn, true, &err));
    assert_int_equal(write(ran.input, "hello", 5), 5);
    close(ran.input);
    ran.input = -1;
    wait_empty(*state, &ran);
    assert_string_equal(ran.text, "hello");
}

static void without_an_output_file_output_goes_nowhere(void **state)
{
    struct err err;
    struct ran ran = {.pipe = -1, .input = -1};
    struct spawn spawn =
        spawn_of((const char *const[]){"/bin/sh", "-c", "test -c /dev/fd/1 -a -c /dev/fd/2", NULL});
    spawn.on_end = ran_on_end;
    spawn.arg = &ran;
    ran.process = process_spawn(((struct house *)*state)->supervisor, &spawn, &err);
    assert_non_null(ran.process);
    wait_ended(*state, &ran);
    assert_int_equal(ran.end.code, 0);
}

static void it_starts_in_the_given_directory(void **state)
{
    struct ran ran;
    struct spawn spawn = spawn_of((const char *const[]){"/bin/pwd", NULL});
    spawn.dir_fd = open("/usr/bin", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    run(*state, &ran, &spawn);
    assert_string_equal(ran.text, "/usr/bin\n");
    close(spawn.dir_fd);
}

static void it_leads_a_session_of_its_own(void **state)
{
    struct ran ran;
    char expected[64];
    start_shell(*state, &ran, "cut -d' ' -f5,6 /proc/$$/stat", plain_environment, 0);
    int pid = (int)process_pid(ran.process);
    wait_empty(*state, &ran);
    snprintf(expected, sizeof expected, "%d %d\n", pid, pid);
    assert_string_equal(ran.text, expected);
}

static void it_inherits_no_descriptor(void **state)
{
    struct ran ran;
    int leak = open("/dev/null", O_RDONLY), high = fcntl(leak, F_DUPFD, 200);
    run_shell(*state, &ran, "ls /proc/$$/fd");
    assert_null(strstr(ran.text, "200"));
    run_shell(*state, &ran, "for fd in /proc/$$/fd/*; do test ${fd##*/} -gt 2 && readlink $fd; done; true");
    assert_null(strstr(ran.text, "/dev/null"));
    close(leak);
    close(high);
}

static void it_starts_with_default_signals(void **state)
{
    struct ran ran;
    sigset_t blocked, before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    signal(SIGPIPE, SIG_IGN);
    struct spawn spawn =
        spawn_of((const char *const[]){"/bin/grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status", NULL});
    run(*state, &ran, &spawn);
    signal(SIGPIPE, SIG_DFL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    assert_string_equal(ran.text, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

static void limits_are_set(void **state)
{
    struct ran ran;
    const struct process_limit limits[] = {{process_limit_find("nofile"), 99, 123},
                                           {process_limit_find("core"), 0, 0}};
    struct spawn spawn =
        spawn_of((const char *const[]){"/bin/sh", "-c", "ulimit -n; ulimit -H -n; ulimit -c", NULL});
    spawn.limits = limits;
    spawn.n_limits = 2;
    run(*state, &ran, &spawn);
    assert_string_equal(ran.text, "99\n123\n0\n");
    assert_int_equal(process_limit_find("files"), -1);
}

static void it_writes_itself_into_its_cgroup(void **state)
{
    struct ran ran;
    int ends[2];
    char text[8] = "";
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct spawn spawn = spawn_of((const char *const[]){"/bin/true", NULL});
    spawn.cgroup_procs_fd = ends[1];
    run(*state, &ran, &spawn);
    assert_int_equal(read(ends[0], text, sizeof text), 1);
    assert_string_equal(text, "0");
    close(ends[0]);
    close(ends[1]);
}

/* Run by the tests below, as this program with an argument. */
static int print_ties(void)
{
    int subreaper = 0, death = 0;
    prctl(PR_GET_CHILD_SUBREAPER, &subreaper, 0, 0, 0);
    prctl(PR_GET_PDEATHSIG, &death, 0, 0, 0);
    printf("user %d group %d subreaper %d death signal %d\n", (int)getuid(), (int)getgid(), subreaper, death);
    return 0;
}

static void it_is_a_subreaper_and_dies_with_the_host(void **state)
{
    struct ran ran;
    struct spawn spawn = spawn_of((const char *const[]){"/proc/self/exe", "ties", NULL});
    char expected[128];
    /* qemu-user does not know the call; our children then do without. */
    int subreaper = syscall(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0;
    run(*state, &ran, &spawn);
    snprintf(expected, sizeof expected, "user %d group %d subreaper %d death signal 9\n", (int)getuid(),
             (int)getgid(), subreaper);
    assert_string_equal(ran.text, expected);
}

static void it_can_run_as_another_user(void **state)
{
    if (getuid() != 0) {
        puts("skipped: needs root, to become another user");
        skip();
    }
    struct ran ran;
    struct spawn spawn = spawn_of((const char *const[]){"/usr/bin/id", "-u", NULL});
    spawn.uid = 65534;
    spawn.gid = 65534;
    run(*state, &ran, &spawn);
    assert_string_equal(ran.text, "65534\n");
}

/* A host that dies without a word, run as a program of its own. */
static int be_a_host_that_is_killed(void)
{
    void *state;
    struct spawn spawn = spawn_of((const char *const[]){"/bin/sleep", "1000", NULL});
    struct err err;
    house_setup(&state);
    spawn.out_fd = 1;
    spawn.on_end = ran_on_end;
    if (geteuid() == 0) /* a change of user clears the death signal that was set before */
        spawn.uid = spawn.gid = 65534;
    if (!process_spawn(((struct house *)state)->supervisor, &spawn, &err)) {
        printf("%s\n", err.message);
        return 1;
    }
    raise(SIGKILL);
    return 1;
}

static void a_job_dies_with_its_host(void **state)
{
    int ends[2];
    char text[256] = "";
    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], 1);
        char name[] = "host";
        char *const arguments[] = {name, name, NULL};
        execve("/proc/self/exe", arguments,
               environ); /* by this name: the stand-in of qemu_user.c sees no other */
        _exit(1);
    }
    close(ends[1]);
    struct pollfd hangup = {.fd = ends[0]};
    int ready;
    while ((ready = poll(&hangup, 1, LIMIT_MS)) < 0 && errno == EINTR)
        ;
    assert_int_equal(ready, 1);
    assert_int_equal(read(ends[0], text, sizeof text - 1), 0); /* the end: nobody holds it any more */
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL); /* else there never was a job */
    while (waitpid(-1, NULL, 0) > 0)                                 /* the job came to us */
        ;
}

static void the_end_tells_code_signal_and_usage(void **state)
{
    struct ran ran;
    run_shell(*state, &ran, "exit 42");
    assert_int_equal(ran.end.code, 42);
    assert_int_equal(ran.end.signal, -1);
    assert_false(ran.end.stopped || ran.end.killed);
    assert_int_equal(ran.end.strays, 0);
    assert_true(ran.end.started_ms <= ran.end.ended_ms && ran.end.ended_ms <= ran.end.emptied_ms);
    run_shell(*state, &ran, "kill -SEGV $$");
    assert_int_equal(ran.end.code, -1);
    assert_int_equal(ran.end.signal, SIGSEGV);
    run_shell(*state, &ran, "i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done");
    assert_true(ran.end.usage.ru_utime.tv_sec > 0 || ran.end.usage.ru_utime.tv_usec > 0);
    assert_true(ran.end.usage.ru_maxrss > 0);
}

static void a_closed_stdout_is_the_jobs_own_business(void **state)
{
    struct ran ran;
    run_shell(*state, &ran, "exec >&- 2>&-; sleep 0; exit 3");
    assert_int_equal(ran.end.code, 3);
}

static void output_without_a_newline_and_without_end_is_only_a_file(void **state)
{
    struct ran ran;
    struct stat stat;
    char name[] = "/tmp/moonrunner-test-XXXXXX";
    struct spawn spawn = spawn_of((const char *const[]){"/usr/bin/head", "-c", "100M", "/dev/zero", NULL});
    spawn.out_fd = mkostemp(name, O_APPEND | O_CLOEXEC);
    unlink(name);
    run(*state, &ran, &spawn);
    assert_int_equal(fstat(spawn.out_fd, &stat), 0);
    assert_int_equal(stat.st_size, 100 << 20);
    close(spawn.out_fd);
}

static void assert_refused(struct house *house, struct spawn *spawn, enum err_code code, const char *message)
{
    struct ran ran;
    struct err err = {0};
    assert_null(ran_start(house, &ran, spawn, false, &err));
    spawn->out_fd = -1;
    assert_string_equal(err.message, message);
    assert_int_equal(err.code, code);
    assert_nothing_left(house);
}

static void a_step_that_fails_before_exec_is_named(void **state)
{
    struct house *house = *state;
    struct spawn spawn = spawn_of((const char *const[]){"/x/python", NULL});
    assert_refused(house, &spawn, ERR_PROCESS_EXEC, "/x/python: exec: No such file or directory");
    spawn.path = "/etc/passwd";
    assert_refused(house, &spawn, ERR_PROCESS_EXEC, "/etc/passwd: exec: Permission denied");

    char name[] = "/tmp/moonrunner-test-XXXXXX", expected[256];
    int script = mkstemp(name);
    assert_int_equal(write(script, "#!/no/such/python\n", 18), 18);
    assert_int_equal(fchmod(script, 0700), 0);
    close(script);
    spawn.path = name;
    snprintf(expected, sizeof expected, "%s: exec: the interpreter or loader that it names does not exist",
             name);
    assert_refused(house, &spawn, ERR_PROCESS_EXEC, expected);
    unlink(name);

    spawn = spawn_of((const char *const[]){"/bin/true", NULL});
    const struct process_limit limit = {RLIMIT_NOFILE, 20, 10};
    spawn.limits = &limit;
    spawn.n_limits = 1;
    assert_refused(house, &spawn, ERR_PROCESS_SETRLIMIT, "/bin/true: setrlimit nofile: Invalid argument");

    spawn = spawn_of((const char *const[]){"/bin/true", NULL});
    int file = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    house->fds++;
    spawn.dir_fd = file;
    assert_refused(house, &spawn, ERR_PROCESS_CHDIR, "/bin/true: chdir: Not a directory");
    spawn.dir_fd = AT_FDCWD;
    spawn.cgroup_procs_fd = file;
    assert_refused(house, &spawn, ERR_PROCESS_CGROUP, "/bin/true: cgroup: Bad file descriptor");
    close(file);
    house->fds--;
    spawn.cgroup_procs_fd = -1;
    spawn.out_fd = 1000;
    assert_refused(house, &spawn, ERR_PROCESS_OUTPUT, "/bin/true: output: Bad file descriptor");
}

static void every_injected_failure_leaves_no_child_and_no_descriptor(void **state)
{
    struct house *house = *state;
    struct ran ran;
    struct spawn spawn = spawn_of((const char *const[]){"/bin/true", NULL});
    fault_reset();
    run(house, &ran, &spawn);
    char *names = fault_names(), *rest = NULL;
    unsigned tried = 0;
    for (char *name = strtok_r(names, " ", &rest); name; name = strtok_r(NULL, " ", &rest)) {
        struct err err = {0};
        if (strcmp(name, "process.children") == 0)
            continue; /* not a part of starting */
        fault_reset();
        fault_arm(name, 1);
        spawn.out_fd = -1;
        assert_null(ran_start(house, &ran, &spawn, false, &err));
        assert_true(err.code != ERR_NONE && err.message[0] != '\0');
        assert_nothing_left(house);
        tried++;
    }
    assert_true(tried >= 11);
    free(names);
    fault_reset();
}

static void a_supervisor_that_can_not_be_made_leaves_nothing(void **state)
{
    static const char *const points[] = {"process.null", "process.subreaper", "process.sigchld"};
    uv_loop_t loop;
    (void)state;
    uv_loop_init(&loop);
    int fds = count_fds();
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        struct err err = {0};
        fault_arm(points[i], 1);
        assert_null(supervisor_create(&loop, NULL, &err));
        assert_true(err.message[0] != '\0');
        uv_run(&loop, UV_RUN_DEFAULT);
        assert_int_equal(count_fds(), fds);
    }
    assert_int_equal(uv_loop_close(&loop), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, house_setup, house_teardown)

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "ties") == 0)
        return print_ties();
    if (argc > 1 && strcmp(argv[1], "host") == 0)
        return be_a_host_that_is_killed();
    const struct CMUnitTest tests[] = {
        TEST(the_environment_is_exactly_what_was_given),
        TEST(arguments_arrive_as_they_are),
        TEST(stdout_and_stderr_are_one_file_in_true_order),
        TEST(stdin_is_empty_unless_it_is_given),
        TEST(without_an_output_file_output_goes_nowhere),
        TEST(it_starts_in_the_given_directory),
        TEST(it_leads_a_session_of_its_own),
        TEST(it_inherits_no_descriptor),
        TEST(it_starts_with_default_signals),
        TEST(limits_are_set),
        TEST(it_writes_itself_into_its_cgroup),
        TEST(it_is_a_subreaper_and_dies_with_the_host),
        TEST(it_can_run_as_another_user),
        TEST(a_job_dies_with_its_host),
        TEST(the_end_tells_code_signal_and_usage),
        TEST(a_closed_stdout_is_the_jobs_own_business),
        TEST(output_without_a_newline_and_without_end_is_only_a_file),
        TEST(a_step_that_fails_before_exec_is_named),
        TEST(every_injected_failure_leaves_no_child_and_no_descriptor),
        cmocka_unit_test(a_supervisor_that_can_not_be_made_leaves_nothing),
    };
    return cmocka_run_group_tests_name("process: start", tests, NULL, NULL);
}
