/* Patterns of files that are left out. */
#include "archive/ignore.h"

#include <fnmatch.h>
#include <limits.h>
#include <string.h>

bool ignore_matches(const char *pattern, const char *relative, bool is_folder)
{
    char plain[PATH_MAX];
    size_t length = strlen(pattern);
    bool folders_only = length > 1 && pattern[length - 1] == '/';
    if (length == 0 || length >= sizeof plain || (folders_only && !is_folder))
        return false;
    memcpy(plain, pattern, length + 1);
    if (folders_only)
        plain[length - 1] = '\0';
    int flags = strstr(plain, "**") ? 0 : FNM_PATHNAME;
    if (*plain == '/')
        return !fnmatch(plain + 1, relative, flags);
    for (const char *from = relative;; from++) {
        if (!fnmatch(plain, from, flags))
            return true;
        from = strchr(from, '/');
        if (!from)
            return false;
    }
}
