/* Door host.console: text for the person at the terminal (logs have a door of their own).
 *
 * Writes block: only the commands that a person types use them, never `run`. */
#include <errno.h>
#include <lauxlib.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/fault.h"
#include "lua/doors.h"
#include "lua/lua_err.h"

static int write_all(int fd, const char *text, size_t size, struct err *err)
{
    while (size > 0) {
        ssize_t n = FAULT("console.write") ? (errno = EIO, -1) : write(fd, text, size);
        if (n < 0 && errno == EAGAIN)
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
        else if (n < 0 && errno != EINTR)
            return err_set_file(err, errno, "standard %s", fd == STDOUT_FILENO ? "output" : "error");
        else if (n > 0) {
            text += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

static int write_to(lua_State *L, int fd)
{
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    struct err err;
    if (write_all(fd, text, size, &err) < 0)
        return lua_err_return(L, &err);
    lua_pushboolean(L, 1);
    return 1;
}

/* host.console.write(text) -> true | nil, err: to standard output. */
static int console_write(lua_State *L)
{
    return write_to(L, STDOUT_FILENO);
}

/* host.console.write_error(text) -> true | nil, err: to standard error. */
static int console_write_error(lua_State *L)
{
    return write_to(L, STDERR_FILENO);
}

/* host.console.status(text): a line on standard error that the next one replaces, on a terminal; nothing
 * elsewhere. "" takes it away. A longer text than the terminal is wide is cut. */
static int console_status(lua_State *L)
{
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    struct winsize window;
    if (!isatty(STDERR_FILENO))
        return 0;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0 && size >= window.ws_col)
        size = window.ws_col - 1u;
    write_all(STDERR_FILENO, "\r", 1, NULL);
    write_all(STDERR_FILENO, text, size, NULL);
    write_all(STDERR_FILENO, "\033[K\r", 4, NULL);
    return 0;
}

int luaopen_host_console(lua_State *L)
{
    static const luaL_Reg functions[] = {{"write", console_write},
                                         {"write_error", console_write_error},
                                         {"status", console_status},
                                         {NULL, NULL}};
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
