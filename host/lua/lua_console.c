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

/* host.console.width() -> columns of the terminal on standard output, or nil when it is none. */
static int console_width(lua_State *L)
{
    struct winsize size;
    if (!isatty(STDOUT_FILENO))
        return 0;
    lua_pushinteger(L, ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80);
    return 1;
}

int luaopen_host_console(lua_State *L)
{
    static const luaL_Reg functions[] = {{"write", console_write},
                                         {"write_error", console_write_error},
                                         {"width", console_width},
                                         {NULL, NULL}};
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
