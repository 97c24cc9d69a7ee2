/* Which files a pattern of `.studioml_ignore` leaves out: the simple part of what rsync's --exclude-from
 * knows. Pure. */
#ifndef MOONRUNNER_ARCHIVE_IGNORE_H
#define MOONRUNNER_ARCHIVE_IGNORE_H

#include <stdbool.h>

/* `relative` is a path without slashes at its ends. Shell wildcards; `*` and `?` stop at a slash, `**` does
 * not. A slash at the end: folders only. A slash in front: counted from the top; without it, the pattern may
 * begin at any component (`*.pyc`, `cache`, `data/raw`). */
bool ignore_matches(const char *pattern, const char *relative, bool is_folder);

#endif
