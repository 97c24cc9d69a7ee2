/* Hints that something changed in a few directories (inotify). A hint may come too often, and may be missed
 * (a network file system; a directory's own removal while a handle on it is open): who waits for one waits
 * with a time-out. */
#ifndef MOONRUNNER_FILE_WATCH_H
#define MOONRUNNER_FILE_WATCH_H

#include <stdbool.h>

#include "file/file.h"

/* An inotify descriptor, readable when there is a hint: >= 0. -1: err; the kernel grants 128 a user by
 * default, so several directories share one. Closed with close(). Any thread. */
int watch_open(struct err *);
/* Names made, removed, renamed, closed after writing, or given another mode or time in dir from now on; dir
 * may be closed afterwards. The same directory twice is one. */
int watch_add(int watch_fd, const struct dir *, struct err *);
/* Takes all hints. true: there was one since the last call. */
bool watch_take(int watch_fd);

#endif
