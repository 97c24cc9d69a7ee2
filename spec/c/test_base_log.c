/* log: what a line looks like, in both forms, and that one line is one write. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/json_text.h"
#include "base/log.h"

#define NOON INT64_C(1795523882123) /* 2026-11-24T12:38:02.123Z */

static void assert_line(enum log_form form, const struct log_field *fields, size_t n, const char *expected)
{
    struct buffer line = BUFFER_EMPTY;
    assert_int_equal(log_format(&line, form, NOON, LOG_WARNING, EVENT_JOB_STARTED, fields, n), 0);
    assert_string_equal(line.data, expected);
    buffer_free(&line);
}

static void a_json_line_has_time_level_event_and_fields_in_order(void **state)
{
    (void)state;
    struct log_field fields[] = {
        LOG_T("key", "e\"1\n"),
        LOG_I("attempt", -7),
        {.name = "load", .kind = LOG_NUMBER, .number = 0.1},
        {.name = "big", .kind = LOG_NUMBER, .number = 12345678901234567.0},
        {.name = "odd", .kind = LOG_NUMBER, .number = 1.0 / 0.0},
        {.name = "ok", .kind = LOG_BOOLEAN, .boolean = true},
        {.name = "cut", .kind = LOG_TEXT, .text = "abcdef", .size = 3},
        LOG_T("none", NULL),
    };
    assert_line(
        LOG_JSON, fields, 8,
        "{\"time\":\"2026-11-24T12:38:02.123Z\",\"level\":\"warning\",\"event\":\"job.started\",\"key\":"
        "\"e\\\"1\\n\",\"attempt\":-7,"
        "\"load\":0.1,\"big\":12345678901234568,\"odd\":null,\"ok\":true,\"cut\":\"abc\",\"none\":null}\n");
    assert_line(LOG_JSON, NULL, 0,
                "{\"time\":\"2026-11-24T12:38:02.123Z\",\"level\":\"warning\",\"event\":\"job.started\"}\n");
}

static void the_human_form_quotes_only_what_needs_it(void **state)
{
    (void)state;
    struct log_field fields[] = {LOG_T("key", "e1"), LOG_T("reason", "two words"), LOG_T("empty", ""),
                                 LOG_T("escape", "\x1b[2J"), LOG_I("n", 3)};
    assert_line(LOG_HUMAN, fields, 5,
                "12:38:02.123 warning job.started key=e1 reason=\"two words\" empty=\"\" "
                "escape=\"\\u001b[2J\" n=3\n");
}

static void every_json_line_is_strict_json_whatever_its_values_are(void **state)
{
    (void)state;
    char text[256];
    for (int i = 0; i < 256; i++)
        text[i] = (char)i;
    struct log_field fields[] = {{.name = "x", .kind = LOG_TEXT, .text = text, .size = 256}};
    struct buffer line = BUFFER_EMPTY;
    struct err err;
    assert_int_equal(log_format(&line, LOG_JSON, NOON, LOG_INFO, EVENT_HOST_STARTED, fields, 1), 0);
    assert_int_equal(json_text_check(line.data, line.size, 1, &err), 0);
    buffer_free(&line);
}

static void lines_below_the_level_are_dropped_and_errno_is_kept(void **state)
{
    (void)state;
    int fds[2];
    char text[512];
    assert_int_equal(pipe(fds), 0);
    log_configure(fds[1], LOG_JSON, LOG_INFO);
    errno = ENOENT;
    log_line(LOG_DEBUG, EVENT_JOB_ENDED, LOG_T("a", "b"));
    log_line(LOG_INFO, EVENT_JOB_STARTED, LOG_T("key", "e1"), LOG_I("attempt", 1));
    assert_int_equal(errno, ENOENT);
    assert_false(log_enabled(LOG_DEBUG));
    assert_true(log_enabled(LOG_ERROR));
    fault_arm("base.buffer", 1);
    log_line(LOG_ERROR, EVENT_HOST_FAILED, LOG_T("a", "b"));
    log_configure(STDERR_FILENO, LOG_JSON, LOG_INFO);
    close(fds[1]);
    ssize_t size = read(fds[0], text, sizeof text - 1);
    assert_true(size > 0);
    text[size] = '\0';
    close(fds[0]);
    assert_null(strstr(text, "job.ended"));
    assert_non_null(strstr(text, "\"event\":\"job.started\",\"key\":\"e1\",\"attempt\":1}\n"));
    assert_non_null(strstr(text, "{\"level\":\"error\",\"event\":\"host.failed\",\"cut\":true}\n"));
    fault_reset();
}

static void a_log_that_can_not_be_written_stops_nothing(void **state)
{
    (void)state;
    log_configure(-1, LOG_JSON, LOG_INFO);
    log_line(LOG_ERROR, EVENT_HOST_FAILED, LOG_I("n", 1));
    log_configure(STDERR_FILENO, LOG_JSON, LOG_INFO);
}

static void every_event_and_level_is_found_by_its_name(void **state)
{
    (void)state;
    for (enum log_event event = 0; event < LOG_EVENT_COUNT; event++)
        assert_int_equal(log_event_find(log_event_name(event)), event);
    assert_int_equal(log_event_find("job.exploded"), LOG_EVENT_COUNT);
    assert_int_equal(log_level_find("debug"), LOG_DEBUG);
    assert_int_equal(log_level_find("error"), LOG_ERROR);
    assert_int_equal(log_level_find("loud"), -1);
}

int main(void)
{
    setenv("TZ", "UTC", 1);
    tzset();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_json_line_has_time_level_event_and_fields_in_order),
        cmocka_unit_test(the_human_form_quotes_only_what_needs_it),
        cmocka_unit_test(every_json_line_is_strict_json_whatever_its_values_are),
        cmocka_unit_test(lines_below_the_level_are_dropped_and_errno_is_kept),
        cmocka_unit_test(a_log_that_can_not_be_written_stops_nothing),
        cmocka_unit_test(every_event_and_level_is_found_by_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
