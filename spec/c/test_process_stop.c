/* Stopping a process, and the proof that nothing of its tree is left: daemons, deep trees, fork bombs. */
#include "process_fixture.h"

#include <time.h>

#define ATTEMPT(name) ((char *[]){(char *)"PATH=/usr/bin:/bin", (char *)"MOONRUNNER_ATTEMPT=" name, NULL})

static void stop_and_wait(struct house *house, struct ran *ran, uint64_t grace_ms)
{
    process_stop(ran->process, grace_ms);
    assert_false(ran->ended); /* never from inside the call */
    wait_empty(house, ran);
}

static void term_ends_a_process_that_obeys(void **state)
{
    struct ran ran;
    start_shell(*state, &ran, "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.01; done",
                plain_environment, 0);
    wait_output(*state, &ran, "ready");
    stop_and_wait(*state, &ran, 3600000);
    assert_non_null(strstr(ran.text, "bye"));
    assert_int_equal(ran.end.code, 5);
    assert_true(ran.end.stopped);
    assert_false(ran.end.killed);
}

static void a_process_that_ignores_term_is_killed_after_the_grace(void **state)
{
    struct ran ran;
    start_shell(*state, &ran, "trap '' TERM; echo ready; while :; do sleep 0.01; done", plain_environment, 0);
    wait_output(*state, &ran, "ready");
    stop_and_wait(*state, &ran, 30);
    assert_int_equal(ran.end.signal, SIGKILL);
    assert_true(ran.end.stopped && ran.end.killed);
}

static void a_shorter_grace_wins_and_a_longer_one_does_not(void **state)
{
    struct ran ran;
    start_shell(*state, &ran, "trap '' TERM; echo ready; while :; do sleep 0.01; done", plain_environment, 0);
    wait_output(*state, &ran, "ready");
    process_stop(ran.process, 3600000);
    process_stop(ran.process, 10);
    process_stop(ran.process, 3600000);
    wait_empty(*state, &ran);
    assert_int_equal(ran.end.signal, SIGKILL);
}

static void a_process_that_stands_still_hears_term_too(void **state)
{
    struct ran ran;
    start_shell(*state, &ran, "echo ready; kill -STOP $$", plain_environment, 0);
    wait_output(*state, &ran, "ready");
    stop_and_wait(*state, &ran, 3600000);
    assert_int_equal(ran.end.signal, SIGTERM);
}

static void without_grace_the_tree_is_killed_at_once(void **state)
{
    struct ran ran;
    start_shell(*state, &ran,
                "setsid sh -c 'trap \"\" TERM; echo ready; while :; do sleep 1000; done' & sleep 1000",
                plain_environment, 3600000);
    wait_output(*state, &ran, "ready");
    stop_and_wait(*state, &ran, 0);
    assert_int_equal(ran.end.signal, SIGKILL);
    assert_true(ran.end.killed);
}

static void daemons_that_outlive_the_main_process_are_ended_and_counted(void **state)
{
    struct ran ran;
    start_shell(*state, &ran, "(setsid sleep 1000 &); setsid sleep 1000 & env -i setsid sleep 1000 & exit 0",
                plain_environment, 3600000);
    wait_empty(*state, &ran);
    assert_int_equal(ran.end.code, 0);
    assert_int_equal(ran.end.strays, 3);
    assert_false(ran.end.stopped || ran.end.killed);
}

static void a_daemon_that_ignores_term_is_killed_after_the_grace(void **state)
{
    struct ran ran;
    start_shell(*state, &ran,
                "setsid sh -c 'trap \"\" TERM; echo ready; while :; do sleep 0.01; done' &"
                "while ! test -e /proc/$!; do :; done; exit 1",
                plain_environment, 50);
    wait_empty(*state, &ran);
    assert_int_equal(ran.end.code, 1);
    assert_true(ran.end.strays >= 1);
}

/* This program with an argument: leaves two zombies that nobody waited for. */
static int leave_zombies(void)
{
    for (int i = 0; i < 2; i++) {
        siginfo_t info;
        pid_t pid = fork();
        if (pid == 0)
            _exit(1);
        if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0)
            return 1;
    }
    return 0;
}

static void what_ended_before_the_main_process_is_no_stray(void **state)
{
    struct ran ran;
    struct err err;
    struct spawn spawn = spawn_of((const char *const[]){"/proc/self/exe", "zombies", NULL});
    assert_non_null(ran_start(*state, &ran, &spawn, false, &err));
    wait_empty(*state, &ran);
    assert_int_equal(ran.end.code, 0);
    assert_int_equal(ran.end.strays, 0);
}

#define DEPTH 120

/* This program with an argument: each process starts one more in a new session, and stays. */
static int be_a_deep_tree(void)
{
    for (int depth = 0; depth < DEPTH; depth++) {
        pid_t pid = fork();
        if (pid != 0)
            for (;;)
                pause();
        setsid();
    }
    if (write(1, "leaf\n", 5) != 5)
        return 1;
    for (;;)
        pause();
}

static void a_deep_tree_of_sessions_is_killed_as_a_whole(void **state)
{
    struct ran ran;
    struct err err;
    struct spawn spawn = spawn_of((const char *const[]){"/proc/self/exe", "deep", NULL});
    assert_non_null(ran_start(*state, &ran, &spawn, false, &err));
    wait_output(*state, &ran, "leaf");
    stop_and_wait(*state, &ran, 0);
    assert_int_equal(ran.end.signal, SIGKILL);
}

static void stopping_one_leaves_another_and_its_daemons_alone(void **state)
{
    struct house *house = *state;
    struct ran mine, other;
    start_shell(house, &other, "setsid sleep 1000 & echo daemon $!.; exec sleep 1000", ATTEMPT("b"), 0);
    wait_output(house, &other, ".");
    pid_t daemon = atoi(strstr(other.text, "daemon ") + 7);
    start_shell(house, &mine, "setsid sleep 1000 & setsid sleep 1000 & echo ready; exec sleep 1000",
                ATTEMPT("a"), 0);
    wait_output(house, &mine, "ready");
    stop_and_wait(house, &mine, 0);
    assert_false(other.ended);
    assert_true(pid_alive(daemon));
    stop_and_wait(house, &other, 0);
    assert_false(pid_alive(daemon));
}

/* Ends the main process from outside: for the supervisor it has ended by itself. Returns when it was reaped.
 */
static void end_main(struct house *house, struct ran *ran)
{
    pid_t pid = process_pid(ran->process);
    kill(pid, SIGKILL);
    while (kill(pid, 0) == 0)
        uv_run(&house->loop, UV_RUN_ONCE);
}

static void a_daemon_is_known_by_its_mark_after_its_main_process_has_ended(void **state)
{
    struct house *house = *state;
    struct ran slow, quick;
    const char *script =
        "setsid sh -c 'trap \"\" TERM; echo daemon $$.; while :; do sleep 0.01; done' & exec sleep 1000";
    /* The first one is older than all daemons: by age, each could be its own. */
    start_shell(house, &quick, script, ATTEMPT("quick"), 20);
    wait_output(house, &quick, ".");
    start_shell(house, &slow, script, ATTEMPT("slow"), 3600000);
    wait_output(house, &slow, ".");
    pid_t daemon = atoi(strstr(slow.text, "daemon ") + 7);
    end_main(house, &slow);
    end_main(house, &quick);
    wait_empty(house, &quick);
    assert_true(quick.end.killed);
    assert_false(slow.ended);
    assert_true(pid_alive(daemon)); /* it still has its hour */
    stop_and_wait(house, &slow, 0);
    assert_false(pid_alive(daemon));
    assert_false(slow.end.stopped); /* its main process had ended by itself */
    assert_true(slow.end.strays >= 1 && quick.end.strays >= 1);
}

/* --- bombs -------------------------------------------------------------------------------------- */

/* This program with an argument. They end by themselves after some seconds, whatever is broken. */

#define BOMB_SECONDS 3
#define BOMB_MAX 150

static bool bomb_over(time_t until)
{
    return time(NULL) >= until;
}

/* Nobody stopped it: the test sees that. */
static int bomb_ended_by_itself(void)
{
    ssize_t ignored = write(1, "over\n", 5);
    (void)ignored;
    _exit(0);
}

/* Always a new process in a new session, child of a parent that is gone already. */
static int be_a_chain(void)
{
    time_t until = time(NULL) + BOMB_SECONDS;
    if (write(1, "ready\n", 6) != 6)
        return 1;
    while (!bomb_over(until)) {
        pid_t pid = fork();
        if (pid > 0)
            _exit(0);
        if (pid == 0)
            setsid();
    }
    return bomb_ended_by_itself();
}

/* Ever more processes, each in a session of its own, that fork again as soon as there is room. */
static int be_a_bush(void)
{
    time_t until = time(NULL) + BOMB_SECONDS;
    static int room[2];
    char token = 'x';
    if (pipe(room) < 0)
        return 1;
    for (int i = 0; i < BOMB_MAX; i++) {
        if (write(room[1], &token, 1) != 1)
            return 1;
    }
    if (write(1, "ready\n", 6) != 6)
        return 1;
    while (!bomb_over(until) && read(room[0], &token, 1) == 1) {
        if (fork() == 0) {
            setsid();
            signal(SIGTERM, SIG_IGN);
        } else if (getpid() % 3 == 0) {
            break; /* some end at once: their children look for a parent */
        }
    }
    while (!bomb_over(until))
        usleep(100);
    return bomb_ended_by_itself();
}

static void start_bomb(struct house *house, struct ran *ran, const char *kind, uint64_t grace_ms)
{
    struct err err = {0};
    struct spawn spawn = spawn_of((const char *const[]){"/proc/self/exe", kind, NULL});
    spawn.grace_ms = grace_ms;
    if (!ran_start(house, ran, &spawn, false, &err))
        fail_msg("%s", err.message);
}

static void a_chain_of_double_forks_is_caught(void **state)
{
    struct ran ran;
    start_bomb(*state, &ran, "chain", 1); /* its main process ends at once */
    wait_empty(*state, &ran);
    assert_int_equal(ran.end.code, 0);
    assert_null(strstr(ran.text, "over"));
}

static void a_bush_of_sessions_is_killed_while_it_grows(void **state)
{
    struct ran ran;
    start_bomb(*state, &ran, "bush", 0);
    wait_output(*state, &ran, "ready");
    stop_and_wait(*state, &ran, 0);
    assert_null(strstr(ran.text, "over"));
}

static void a_fork_bomb_in_one_group_dies_at_once(void **state)
{
    struct ran ran;
    start_shell(*state, &ran,
                "end=$(($(date +%s) + 3)); trap '' TERM; echo ready;"
                "b() { test $(date +%s) -ge $end && exit; b & test $1 = 0 || b 0 & wait; }; b 1",
                plain_environment, 0);
    wait_output(*state, &ran, "ready");
    stop_and_wait(*state, &ran, 0);
    assert_int_equal(ran.end.signal, SIGKILL);
}

static void a_fork_bomb_that_outlives_the_main_process_dies_too(void **state)
{
    struct ran ran;
    start_shell(*state, &ran,
                "end=$(($(date +%s) + 3)); trap '' TERM;"
                "b() { test $(date +%s) -ge $end && { echo over; exit; }; b & test $1 = 0 || b 0 & wait; };"
                "b 1 & exit 6",
                plain_environment, 20);
    wait_empty(*state, &ran);
    assert_int_equal(ran.end.code, 6);
    assert_true(ran.end.killed);
    assert_null(strstr(ran.text, "over"));
}

/* --- failures ------------------------------------------------------------------------------------ */

static void the_proof_waits_when_children_can_not_be_listed(void **state)
{
    static const char *const points[] = {"process.children", "process.stray", "process.search",
                                         "process.list", "process.tree"};
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        struct ran ran;
        start_shell(*state, &ran, "setsid sh -c 'setsid sleep 1000 & echo ready; sleep 1000' & wait",
                    plain_environment, 0);
        wait_output(*state, &ran, "ready");
        fault_arm(points[i], 1);
        stop_and_wait(*state, &ran, 0);
        fault_reset();
    }
}

static void processes_start_and_stop_from_inside_on_end(void **state);
static struct ran second;

static void start_second(struct process *process, const struct process_end *end, void *arg)
{
    ran_on_end(process, end, ((void **)arg)[0]);
    start_shell(((void **)arg)[1], &second, "sleep 1000", plain_environment, 0);
    process_stop(second.process, 0);
}

static void processes_start_and_stop_from_inside_on_end(void **state)
{
    struct err err;
    struct ran first = {.pipe = -1, .input = -1};
    struct spawn spawn = spawn_of((const char *const[]){"/bin/true", NULL});
    spawn.on_end = start_second;
    spawn.arg = (void *[]){&first, *state};
    first.process = process_spawn(((struct house *)*state)->supervisor, &spawn, &err);
    assert_non_null(first.process);
    wait_ended(*state, &first);
    wait_empty(*state, &second);
    assert_int_equal(second.end.signal, SIGKILL);
}

static void many_at_once_all_end(void **state)
{
    enum { N = 60 };
    static struct ran rans[N];
    for (int i = 0; i < N; i++)
        start_shell(*state, &rans[i], i % 3 ? "exit 0" : "setsid sleep 1000 & exit 0", plain_environment,
                    5000);
    for (int i = 0; i < N; i++)
        wait_ended(*state, &rans[i]);
}

/* --- dead runs ----------------------------------------------------------------------------------- */

static void the_processes_of_a_dead_run_are_ended_and_no_others(void **state)
{
    struct house *house = *state;
    struct err err = {0};
    struct ran dead, living;
    char *const dead_run[] = {(char *)"PATH=/usr/bin:/bin", (char *)"MOONRUNNER_RUN=0badcafe", NULL};
    char *const living_run[] = {(char *)"PATH=/usr/bin:/bin", (char *)"MOONRUNNER_RUN=0badcafe1", NULL};
    start_shell(house, &living, "echo ready; exec sleep 1000", living_run, 0);
    start_shell(house, &dead, "setsid sh -c 'env -i setsid sleep 1000 & echo ready; wait' & wait", dead_run,
                0);
    wait_output(house, &living, "ready");
    wait_output(house, &dead, "ready");
    assert_int_equal(process_end_run("0badcafe", LIMIT_MS, &err), 3);
    assert_int_equal(process_end_run("0badcafe", LIMIT_MS, &err), 0);
    wait_empty(house, &dead);
    assert_int_equal(dead.end.signal, SIGKILL);
    assert_false(living.ended);
    stop_and_wait(house, &living, 0);
}

static void a_run_that_can_not_be_looked_for_is_an_error(void **state)
{
    struct err err = {0};
    (void)state;
    fault_arm("process.list", 1);
    assert_int_equal(process_end_run("0badcafe", LIMIT_MS, &err), -1);
    assert_int_equal(err.code, ERR_FILE_IO);
    assert_int_equal(process_end_run("", LIMIT_MS, &err), -1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, house_setup, house_teardown)

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "zombies") == 0)
        return leave_zombies();
    if (argc > 1 && strcmp(argv[1], "deep") == 0)
        return be_a_deep_tree();
    if (argc > 1 && strcmp(argv[1], "chain") == 0)
        return be_a_chain();
    if (argc > 1 && strcmp(argv[1], "bush") == 0)
        return be_a_bush();
    const struct CMUnitTest tests[] = {
        TEST(term_ends_a_process_that_obeys),
        TEST(a_process_that_ignores_term_is_killed_after_the_grace),
        TEST(a_shorter_grace_wins_and_a_longer_one_does_not),
        TEST(a_process_that_stands_still_hears_term_too),
        TEST(without_grace_the_tree_is_killed_at_once),
        TEST(daemons_that_outlive_the_main_process_are_ended_and_counted),
        TEST(a_daemon_that_ignores_term_is_killed_after_the_grace),
        TEST(what_ended_before_the_main_process_is_no_stray),
        TEST(a_deep_tree_of_sessions_is_killed_as_a_whole),
        TEST(stopping_one_leaves_another_and_its_daemons_alone),
        TEST(a_daemon_is_known_by_its_mark_after_its_main_process_has_ended),
        TEST(a_chain_of_double_forks_is_caught),
        TEST(a_bush_of_sessions_is_killed_while_it_grows),
        TEST(a_fork_bomb_in_one_group_dies_at_once),
        TEST(a_fork_bomb_that_outlives_the_main_process_dies_too),
        TEST(the_proof_waits_when_children_can_not_be_listed),
        TEST(processes_start_and_stop_from_inside_on_end),
        TEST(many_at_once_all_end),
        TEST(the_processes_of_a_dead_run_are_ended_and_no_others),
        TEST(a_run_that_can_not_be_looked_for_is_an_error),
    };
    return cmocka_run_group_tests_name("process: stop", tests, NULL, NULL);
}
