/* Reads Lua source files and loads them as text (lua/source.h). */
#include "lua/source.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"

enum { MAX_SIZE = 1024 * 1024 };

static int read_all(int fd, const char *path, struct buffer *out, struct err *err)
{
    char piece[16384];
    ssize_t got;
    while ((got = FAULT("source.read") ? (errno = EIO, -1) : read(fd, piece, sizeof piece)) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_set_file(err, errno, "%s", path);
        if (out->size + (size_t)got > MAX_SIZE)
            return err_set(err, ERR_FILE_TOO_BIG, "%s: a Lua file has at most 1 MiB", path);
        if (buffer_add(out, piece, (size_t)got) != 0)
            return err_set(err, ERR_NO_MEMORY, "%s: out of memory", path);
    }
    return 0;
}

int source_read(const char *path, struct buffer *out, struct err *err)
{
    static const char mark[] = "\xEF\xBB\xBF";
    struct stat status;
    buffer_clear(out);
    int fd = FAULT("source.open") ? (errno = EIO, -1) : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_set_file(err, errno, "%s", path);
    int result = fstat(fd, &status) == 0 && S_ISREG(status.st_mode)
                     ? read_all(fd, path, out, err)
                     : err_set(err, ERR_FILE_NOT_REGULAR, "%s: not a regular file", path);
    close(fd);
    if (result == 0 && out->size >= 3 && memcmp(out->data, mark, 3) == 0) {
        memmove(out->data, out->data + 3, out->size - 2); /* with the NUL behind */
        out->size -= 3;
    }
    return result;
}

int source_load(lua_State *L, const struct buffer *text, const char *name, struct err *err)
{
    const char *bytes = text->data != NULL ? text->data : "";
    if (bytes[0] == '\033')
        return err_set(err, ERR_SCRIPT_INVALID, "%s: this is bytecode, and only text is loaded", name);
    lua_pushfstring(L, "@%s", name);
    int status = luaL_loadbufferx(L, bytes, text->size, lua_tostring(L, -1), "t");
    lua_remove(L, -2);
    if (status == 0)
        return 0;
    err_set(err, ERR_SCRIPT_INVALID, "%s", lua_tostring(L, -1)); /* names file and line */
    lua_pop(L, 1);
    return -1;
}
