/* host.system: who this process is, and whether another process still lives. What a lock file needs to be
 * judged. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/fault.h"
#include "lua/doors.h"

/* The kernel's ABI fixes the inode of the initial pid namespace (PROC_PID_INIT_INO in linux/proc_ns.h). */
#define INITIAL_PID_NAMESPACE 0xEFFFFFFCu
#define START_TIME_FIELD 22 /* of /proc/PID/stat, as proc(5) counts */

/* Reads at most size - 1 bytes and ends them with a NUL. -1: errno says why. */
static ssize_t read_small_file(const char *path, char *out, size_t size)
{
    int fd = FAULT("system.read") ? (errno = EIO, -1) : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    ssize_t n;
    do {
        n = read(fd, out, size - 1);
    } while (n < 0 && errno == EINTR);
    int sys = errno;
    close(fd);
    errno = sys;
    out[n > 0 ? n : 0] = '\0';
    return n;
}

/* Since Linux 5.6 a time namespace can shift the start times that its processes read: then they mean nothing
 * to others, and others' mean nothing to it. */
static bool start_times_are_shifted(void)
{
    char text[256];
    if (read_small_file("/proc/self/timens_offsets", text, sizeof text) < 0) {
        return false;
    }
    const char *line = strstr(text, "boottime");
    long seconds = 0, nanoseconds = 0;
    return line != NULL && sscanf(line, "boottime %ld %ld", &seconds, &nanoseconds) == 2 &&
           (seconds != 0 || nanoseconds != 0);
}

/* The state (field 3) and the start time (field 22) in the text of /proc/PID/stat. The name in parentheses
 * may itself hold spaces and parentheses, so fields are counted from the last one. NULL: not such a text. */
static const char *find_start_time(char *stat, char *state)
{
    char *at = strrchr(stat, ')');
    if (at == NULL || at[1] != ' ') {
        return NULL;
    }
    *state = at[2];
    for (int field = 2; field < START_TIME_FIELD; field++) {
        at = strchr(at + 1, ' ');
        if (at == NULL) {
            return NULL;
        }
    }
    size_t digits = strspn(at + 1, "0123456789");
    at[1 + digits] = '\0';
    return digits > 0 ? at + 1 : NULL;
}

/* Pushes the start time and true, or nil and whether the process lives. A zombie counts as gone: it can
 * release nothing. */
static int push_start_time(lua_State *L, pid_t pid)
{
    char path[64], stat[1024], state = '?';
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    if (read_small_file(path, stat, sizeof stat) < 0) {
        /* /proc may hide the processes of others (hidepid): only the signal tells a hidden one from a dead
         * one. */
        lua_pushnil(L);
        lua_pushboolean(L, kill(pid, 0) == 0 || errno == EPERM);
        return 2;
    }
    const char *start = find_start_time(stat, &state);
    if (state == 'Z' || state == 'X') {
        lua_pushnil(L);
        lua_pushboolean(L, false);
        return 2;
    }
    if (start == NULL || start_times_are_shifted()) {
        lua_pushnil(L);
    } else {
        lua_pushstring(L, start);
    }
    lua_pushboolean(L, true);
    return 2;
}

static int system_process_start_time(lua_State *L)
{
    lua_Number pid = luaL_checknumber(L, 1);
    luaL_argcheck(L, pid >= 1 && pid <= INT_MAX && pid == (lua_Number)(int)pid, 1, "should be a process id");
    return push_start_time(L, (pid_t)pid);
}

static void set_boot_id(lua_State *L)
{
    char text[64];
    if (read_small_file("/proc/sys/kernel/random/boot_id", text, sizeof text) < 0) {
        return;
    }
    size_t digits = 0;
    for (const char *c = text; *c != '\0'; c++) {
        if (isxdigit((unsigned char)*c)) {
            text[digits++] = *c;
        }
    }
    lua_pushlstring(L, text, digits);
    lua_setfield(L, -2, "boot_id");
}

static int system_identity(lua_State *L)
{
    char hostname[HOST_NAME_MAX + 1] = "";
    gethostname(hostname, sizeof hostname);
    hostname[HOST_NAME_MAX] = '\0';

    struct stat namespace;
    bool known = stat("/proc/self/ns/pid", &namespace) == 0;
    char number[32];
    snprintf(number, sizeof number, "%llu",
             known ? (unsigned long long)namespace.st_ino : INITIAL_PID_NAMESPACE);

    lua_createtable(L, 0, 6);
    lua_pushnumber(L, (lua_Number)getpid());
    lua_setfield(L, -2, "pid");
    push_start_time(L, getpid());
    lua_pop(L, 1);
    lua_setfield(L, -2, "start_time");
    lua_pushstring(L, hostname);
    lua_setfield(L, -2, "hostname");
    lua_pushstring(L, number);
    lua_setfield(L, -2, "pid_namespace");
    lua_pushboolean(L, !known || namespace.st_ino == INITIAL_PID_NAMESPACE);
    lua_setfield(L, -2, "initial_pid_namespace");
    set_boot_id(L);
    return 1;
}

int luaopen_host_system(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"identity", system_identity},
        {"process_start_time", system_process_start_time},
        {NULL, NULL},
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
