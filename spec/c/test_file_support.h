/* What the tests of host/file share: a folder of their own, and what must be the same after a call as before.
 */
#ifndef MOONRUNNER_TEST_FILE_SUPPORT_H
#define MOONRUNNER_TEST_FILE_SUPPORT_H

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
// cmocka last: it wants the headers above
#include <cmocka.h>

#include "base/fault.h"
#include "file/content.h"
#include "file/file.h"

static char folder[64]; /* made by setup */
static struct dir root, dir;

/* The command finds the folder as $FOLDER. */
static inline int run_shell(const char *command)
{
    setenv("FOLDER", folder, 1);
    return system(command);
}

static inline int setup_below(const char *parent)
{
    struct err err;
    snprintf(folder, sizeof folder, "%s/moonrunner-file-XXXXXX", parent);
    fault_reset();
    umask(022);
    return mkdtemp(folder) && dir_open_root(&root, &err) == 0 ? dir_open(&root, folder, &dir, &err) : -1;
}

static inline int setup(void **state)
{
    (void)state;
    return setup_below("/tmp");
}

/* For what would take long on a disk. */
static inline int setup_in_memory(void **state)
{
    (void)state;
    return setup_below(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
}

static inline int teardown(void **state)
{
    (void)state;
    fault_reset();
    dir_close(&dir);
    dir_close(&root);
    run_shell("chmod -R u+rwx \"$FOLDER\" 2>/dev/null; rm -rf \"$FOLDER\"");
    return 0;
}

static inline size_t open_descriptors(void)
{
    size_t n = 0;
    DIR *stream = opendir("/proc/self/fd");
    while (readdir(stream))
        n++;
    closedir(stream);
    return n;
}

static inline void put(const char *name, const char *text)
{
    struct err err;
    unlinkat(dir.fd, name, 0);
    assert_int_equal(dir_create(&dir, name, text, strlen(text), 0644, &err), 0);
}

static inline void assert_text(const char *name, const char *text)
{
    struct err err;
    struct buffer got = BUFFER_EMPTY;
    assert_int_equal(dir_read(&dir, name, 1 << 20, &got, &err), 0);
    assert_int_equal(got.size, strlen(text));
    assert_memory_equal(got.data, text, got.size);
    buffer_free(&got);
}

static inline bool is_there(const char *name)
{
    struct stat st;
    return fstatat(dir.fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The call failed with that code, and the message names what it was about. */
#define assert_failed(status, code_, about)                                                                  \
    do {                                                                                                     \
        memset(&err, 0, sizeof err);                                                                         \
        assert_int_equal((status), -1);                                                                      \
        assert_string_equal(err_code_name(err.code), err_code_name(code_));                                  \
        if (!strstr(err.message, (about)))                                                                   \
            fail_msg("\"%s\" does not name %s", err.message, (about));                                       \
    } while (0)

/* Runs fn as a user without rights (as itself where we are one), in a child. */
static inline void as_nobody(int (*fn)(void))
{
    if (geteuid() == 0)
        assert_int_equal(run_shell("chown -R 65534:65534 \"$FOLDER\""), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && (setresgid(65534, 65534, 65534) == -1 || setresuid(65534, 65534, 65534) == -1))
            _exit(90);
        _exit(fn());
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

#endif
