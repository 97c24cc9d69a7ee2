/* Judges what an archive asks for. */
#include "archive/guard.h"

#include <string.h>

/* Headers, padding and attributes may take this much of the stream for each entry without counting as
 * content. */
#define STREAM_PER_ENTRY (UINT64_C(64) << 10)
#define STREAM_AT_ALL (UINT64_C(1) << 20)

const char *guard_shown(const char *name, char out[GUARD_SHOWN])
{
    size_t length = 0;
    for (; name[length] && length < GUARD_SHOWN - 4; length++) {
        unsigned char c = (unsigned char)name[length];
        out[length] = c < 0x20 || c == 0x7f ? '?' : (char)c;
    }
    strcpy(out + length, name[length] ? "..." : "");
    return out;
}

int guard_unsafe(struct err *err, const char *name, const char *why)
{
    char shown[GUARD_SHOWN];
    return err_set(err, ERR_ARCHIVE_UNSAFE_ENTRY, "entry '%s' %s", guard_shown(name ? name : "", shown), why);
}

int guard_name(const char *name, char path[PATH_MAX], struct err *err)
{
    if (!name || !*name)
        return guard_unsafe(err, name, "has no name");
    if (*name == '/')
        return guard_unsafe(err, name, "has an absolute name");
    size_t used = 0;
    unsigned depth = 0;
    while (*name) {
        size_t length = strcspn(name, "/");
        if (length == 2 && name[0] == '.' && name[1] == '.')
            return guard_unsafe(err, name, "leads out of the folder by '..'");
        if (length > 0 && !(length == 1 && name[0] == '.')) {
            if (length > NAME_MAX || used + length + 2 > PATH_MAX)
                return guard_unsafe(err, name, "has a name that is too long");
            if (++depth > ARCHIVE_MAX_DEPTH)
                return guard_unsafe(err, name, "lies too deep");
            if (used > 0)
                path[used++] = '/';
            memcpy(path + used, name, length);
            used += length;
        }
        name += length;
        name += strspn(name, "/");
    }
    path[used] = '\0';
    return 0;
}

int guard_entry(enum entry_kind kind, const char *name, const char *target, char path[PATH_MAX],
                char target_path[PATH_MAX], struct err *err)
{
    if (kind == ENTRY_OTHER)
        return guard_unsafe(err, name, "is neither file, folder nor link");
    if (guard_name(name, path, err))
        return -1;
    if (kind != ENTRY_FOLDER && !*path)
        return guard_unsafe(err, name, "stands in the place of the folder itself");
    if (kind == ENTRY_LINK && (!target || !*target || strlen(target) >= PATH_MAX))
        return guard_unsafe(err, name, "is a link to nowhere");
    if (kind == ENTRY_HARD_LINK) {
        if (guard_name(target, target_path, err))
            return err_prefix(err, "hard link");
        if (!*target_path)
            return guard_unsafe(err, name, "is a hard link to a folder");
    }
    return 0;
}

int guard_progress(const struct archive_limits *limits, const struct guard_progress *progress,
                   struct err *err)
{
    if (limits->max_entries && progress->entries > limits->max_entries)
        return err_set(err, ERR_ARCHIVE_TOO_MANY, "the archive has more than %llu entries",
                       (unsigned long long)limits->max_entries);
    /* The stream is looked at too: what libarchive passes over without showing it to us costs time all the
     * same. */
    uint64_t around = STREAM_AT_ALL + (progress->entries + 1) * STREAM_PER_ENTRY;
    uint64_t beyond = progress->stream > around ? progress->stream - around : 0;
    if (limits->max_bytes && (progress->unpacked > limits->max_bytes || beyond > limits->max_bytes))
        return err_set(err, ERR_ARCHIVE_TOO_BIG, "the archive unpacks to more than %llu bytes",
                       (unsigned long long)limits->max_bytes);
    uint64_t out = progress->unpacked > progress->stream ? progress->unpacked : progress->stream;
    if (limits->max_ratio && out > ARCHIVE_RATIO_FLOOR && out / limits->max_ratio > progress->packed)
        return err_set(err, ERR_ARCHIVE_RATIO, "the archive unpacks to more than %u times its size",
                       limits->max_ratio);
    return 0;
}
