/* Hints that something changed in a few directories. */
#include "file/watch.h"

#include <string.h>
#include <sys/inotify.h>

#include "file/calls.h"

#define CHANGES                                                                                              \
    (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF |     \
     IN_MOVE_SELF)

int watch_open(struct err *err)
{
    int fd = CALL("file.watch", EMFILE, inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    if (fd == -1 && errno == EMFILE)
        return err_set(err, ERR_FILE_IO,
                       "no more folders can be watched; raise fs.inotify.max_user_instances (sysctl)");
    return fd == -1 ? err_set_file(err, errno, "inotify") : fd;
}

int watch_add(int watch_fd, const struct dir *dir, struct err *err)
{
    char path[64] = ".";
    if (dir->fd !=
        AT_FDCWD) /* inotify takes a path only; this one is the open directory wherever it is now */
        snprintf(path, sizeof path, "/proc/self/fd/%d", dir->fd);
    if (CALL("file.watch", ENOSPC, inotify_add_watch(watch_fd, path, CHANGES | IN_ONLYDIR)) != -1)
        return 0;
    char where[DIR_PATH_TEXT];
    if (errno == ENOSPC)
        return err_set(err, ERR_FILE_IO,
                       "%s: no more folders can be watched; raise fs.inotify.max_user_watches (sysctl)",
                       dir_path_text(dir, NULL, where));
    return dir_fail(dir, NULL, errno, err);
}

bool watch_take(int watch_fd)
{
    char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    bool any = false;
    while (read(watch_fd, events, sizeof events) > 0)
        any = true;
    return any;
}
