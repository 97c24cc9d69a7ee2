/* Writing beside and renaming: how a name goes from what it was to complete, with nothing in between. Worker
 * threads. */
#ifndef MOONRUNNER_ARCHIVE_BESIDE_H
#define MOONRUNNER_ARCHIVE_BESIDE_H

#include <limits.h>
#include <stdbool.h>

#include "base/err.h"

/* Opens the folder in front of the last component of `name` and points *base at that component, inside name.
 * may_follow: links in front of it are followed, as usual; without it they are refused (file.not_directory),
 * unless dir_fd is AT_FDCWD. The caller closes the descriptor; -1: err says why. */
int beside_open_parent(int dir_fd, const char *name, bool may_follow, const char **base, struct err *err);

/* `<base>.part-<random>`; of a very long base only the beginning. */
void beside_part_name(const char *base, char part[NAME_MAX + 1]);

/* Renames from_fd/from to to_fd/to, also over a file, a link or an empty folder, whatever `from` is. */
int beside_install(int from_fd, const char *from, int to_fd, const char *to, struct err *err);

/* Removes a tree that nobody else writes to, as far as it can. Follows no link. */
void beside_remove(int dir_fd, const char *name);

#endif
