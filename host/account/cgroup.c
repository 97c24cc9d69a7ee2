/* Finds our cgroup in each hierarchy and takes the lowest limit on the way up to the root of its mount. */
#include "account/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"

enum { TEXT_SIZE = 64 * 1024, NAME_SIZE = 1024 };

int small_file_read(const char *path, char *text, size_t size, struct err *err)
{
    int fd = FAULT("capacity.open") ? (errno = EIO, -1) : open(path, O_RDONLY | O_CLOEXEC);
    size_t have = 0;
    ssize_t got = 0;

    text[0] = '\0';
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    if (fd < 0)
        return err_set_file(err, errno, "%s", path);
    while (have < size - 1) {
        got = FAULT("capacity.read") ? (errno = EIO, -1) : read(fd, text + have, size - 1 - have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        have += (size_t)got;
    }
    text[have] = '\0';
    int sys = errno;
    close(fd);
    /* A controller that goes away while it is read limits nothing any more. */
    if (got < 0 && sys == ENODEV)
        return 0;
    return got < 0 ? err_set_file(err, sys, "%s", path) : 1;
}

/* One hierarchy: where it is mounted, and which of its groups that mount shows at its top. */
struct mount {
    char point[NAME_SIZE], root[NAME_SIZE];
    bool v2, cpu, memory;
};

/* Is `word` one of the words of a comma-separated list? */
static bool has_word(const char *list, const char *word)
{
    size_t length = strlen(word);

    for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (!strncmp(at, word, length) && (at[length] == '\0' || at[length] == ','))
            return true;
    return false;
}

/* "31 23 0:28 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu": is this a cgroup mount? */
static bool parse_mount(char *line, struct mount *mount)
{
    char type[32], options[512];
    char *tail = strstr(line, " - ");

    if (!tail || sscanf(tail, " - %31s %*s %511s", type, options) != 2)
        return false;
    if (sscanf(line, "%*s %*s %*s %1023s %1023s", mount->root, mount->point) != 2)
        return false;
    mount->v2 = !strcmp(type, "cgroup2");
    mount->cpu = mount->v2 || has_word(options, "cpu");
    mount->memory = mount->v2 || has_word(options, "memory");
    return mount->v2 || (!strcmp(type, "cgroup") && (mount->cpu || mount->memory));
}

/* The path of our group in the hierarchy of `mount`, out of the text of /proc/self/cgroup ("4:memory:/a/b").
 */
static bool own_group(const char *cgroups, const struct mount *mount, char *group)
{
    for (const char *line = cgroups; line && *line;
         line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        char controllers[512] = "";
        bool unified = sscanf(line, "0::%1023[^\n]", group) == 1;
        if (unified && mount->v2)
            return true;
        if (unified || mount->v2 || sscanf(line, "%*d:%511[^:]:%1023[^\n]", controllers, group) != 2)
            continue;
        if ((mount->cpu && has_word(controllers, "cpu")) ||
            (mount->memory && has_word(controllers, "memory")))
            return true;
    }
    return false;
}

/* A container's mount often shows our own group as its top: then the names above it do not exist in here. */
static const char *below_mount(const char *group, const char *mount_root)
{
    size_t length = strlen(mount_root);

    if (!strcmp(mount_root, "/"))
        return group;
    if (!strncmp(group, mount_root, length) && (group[length] == '/' || group[length] == '\0'))
        return group + length;
    return "";
}

static int malformed(struct err *err, const char *path, const char *text)
{
    return err_set(err, ERR_ACCOUNT_VALUE, "%s: not understood: \"%.40s\"", path, text);
}

static void lower_cores(struct cgroup_limits *limits, double quota, double period, const char *from)
{
    if (quota / period < limits->cores) {
        limits->cores = quota / period;
        snprintf(limits->cores_from, sizeof limits->cores_from, "%s", from);
    }
}

/* cpu.max: "max 100000" or "250000 100000". */
static int read_cpu_v2(const char *root, const char *folder, struct cgroup_limits *limits, struct err *err)
{
    char path[PATH_MAX], text[128];
    double quota, period;

    snprintf(path, sizeof path, "%s%s/cpu.max", root, folder);
    int got = small_file_read(path, text, sizeof text, err);
    if (got <= 0 || !strncmp(text, "max", 3))
        return got < 0 ? -1 : 0;
    if (sscanf(text, "%lf %lf", &quota, &period) != 2 || !(quota > 0 && period > 0))
        return malformed(err, path, text);
    lower_cores(limits, quota, period, path + strlen(root));
    return 0;
}

/* cpu.cfs_quota_us: -1 or microseconds of every cpu.cfs_period_us. */
static int read_cpu_v1(const char *root, const char *folder, struct cgroup_limits *limits, struct err *err)
{
    char path[PATH_MAX], text[128];
    double quota, period;

    snprintf(path, sizeof path, "%s%s/cpu.cfs_period_us", root, folder);
    int got = small_file_read(path, text, sizeof text, err);
    if (got <= 0)
        return got;
    if (sscanf(text, "%lf", &period) != 1 || !(period > 0))
        return malformed(err, path, text);
    snprintf(path, sizeof path, "%s%s/cpu.cfs_quota_us", root, folder);
    got = small_file_read(path, text, sizeof text, err);
    if (got <= 0)
        return got;
    if (sscanf(text, "%lf", &quota) != 1)
        return malformed(err, path, text);
    if (quota > 0)
        lower_cores(limits, quota, period, path + strlen(root));
    return 0;
}

/* memory.max (v2: "max" or bytes) and memory.limit_in_bytes (v1: bytes, a huge number when there is no
 * limit). */
static int read_memory(const char *root, const char *folder, const char *file, struct cgroup_limits *limits,
                       struct err *err)
{
    char path[PATH_MAX], text[128], *end;

    snprintf(path, sizeof path, "%s%s/%s", root, folder, file);
    int got = small_file_read(path, text, sizeof text, err);
    if (got <= 0 || !strncmp(text, "max", 3))
        return got < 0 ? -1 : 0;
    errno = 0;
    unsigned long long mem = strtoull(text, &end, 10);
    if (end == text || text[0] == '-' || (*end != '\n' && *end != '\0') || errno)
        return malformed(err, path, text);
    if (mem < limits->mem) {
        limits->mem = mem;
        snprintf(limits->mem_from, sizeof limits->mem_from, "%s", path + strlen(root));
    }
    return 0;
}

static int read_folder(const char *root, const char *folder, const struct mount *mount,
                       struct cgroup_limits *limits, struct err *err)
{
    if (mount->cpu && (mount->v2 ? read_cpu_v2 : read_cpu_v1)(root, folder, limits, err))
        return -1;
    if (mount->memory &&
        read_memory(root, folder, mount->v2 ? "memory.max" : "memory.limit_in_bytes", limits, err))
        return -1;
    return 0;
}

/* From our own group up to the top of the mount. */
static int read_mount(const char *root, const char *cgroups, const struct mount *mount,
                      struct cgroup_limits *limits, struct err *err)
{
    char group[NAME_SIZE], folder[2 * NAME_SIZE];

    if (!own_group(cgroups, mount, group))
        return 0;
    snprintf(folder, sizeof folder, "%s%s", mount->point, below_mount(group, mount->root));
    size_t top = strlen(mount->point);
    while (strlen(folder) > top) {
        if (read_folder(root, folder, mount, limits, err))
            return -1;
        *strrchr(folder, '/') = '\0';
    }
    return read_folder(root, mount->point, mount, limits, err);
}

int cgroup_read_limits(const char *root, struct cgroup_limits *limits, struct err *err)
{
    char path[PATH_MAX];
    char *mounts = FAULT("capacity.memory") ? NULL : malloc(2 * TEXT_SIZE);
    int result = -1;

    *limits = (struct cgroup_limits){.cores = INFINITY, .mem = UINT64_MAX};
    if (!mounts)
        return err_set(err, ERR_NO_MEMORY, "cgroups: out of memory");
    char *cgroups = mounts + TEXT_SIZE;
    snprintf(path, sizeof path, "%s/proc/self/mountinfo", root);
    if (small_file_read(path, mounts, TEXT_SIZE, err) < 0)
        goto out;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    if (small_file_read(path, cgroups, TEXT_SIZE, err) < 0)
        goto out;
    char *save = NULL;
    for (char *line = strtok_r(mounts, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        struct mount mount;
        if (parse_mount(line, &mount) && read_mount(root, cgroups, &mount, limits, err))
            goto out;
    }
    result = 0;
out:
    free(mounts);
    return result;
}
