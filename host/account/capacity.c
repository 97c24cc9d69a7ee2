/* Puts together what the affinity, the cgroups, the machine and the file system leave to this host. */
#include "account/capacity.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "account/cgroup.h"
#include "base/fault.h"
#include "base/quantity.h"

/* A figure and where it came from. */
struct figure {
    uint64_t value;
    char from[280];
};

__attribute__((format(printf, 3, 4))) static void lower(struct figure *figure, uint64_t value,
                                                        const char *from, ...)
{
    va_list args;

    if (value >= figure->value)
        return;
    figure->value = value;
    va_start(args, from);
    vsnprintf(figure->from, sizeof figure->from, from, args);
    va_end(args);
}

/* CPUs that we may run on. The set grows until the kernel finds it large enough. */
static int affinity_cores(uint64_t *cores, struct err *err)
{
    for (size_t cpus = 1024; cpus <= 1 << 20; cpus *= 2) {
        cpu_set_t *set = FAULT("capacity.affinity") ? NULL : CPU_ALLOC(cpus);
        if (!set)
            return err_set(err, ERR_NO_MEMORY, "the CPU affinity: out of memory");
        int failed = sched_getaffinity(0, CPU_ALLOC_SIZE(cpus), set) ? errno : 0;
        *cores = failed ? 0 : (uint64_t)CPU_COUNT_S(CPU_ALLOC_SIZE(cpus), set);
        CPU_FREE(set);
        if (!failed)
            return 0;
        if (failed != EINVAL)
            return err_set(err, ERR_INTERNAL, "the CPU affinity: %s", strerror(failed));
    }
    return err_set(err, ERR_INTERNAL, "the CPU affinity: more CPUs than can be counted");
}

static int machine_memory(const char *root, uint64_t *bytes, struct err *err)
{
    char path[PATH_MAX], text[512];
    unsigned long long kib;

    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    int got = small_file_read(path, text, sizeof text, err);
    if (got < 0)
        return -1;
    const char *line = strstr(text, "MemTotal:");
    if (!line || sscanf(line, "MemTotal: %llu kB", &kib) != 1)
        return err_set(err, ERR_ACCOUNT_VALUE, "%s: does not say MemTotal", path);
    *bytes = (uint64_t)kib * 1024;
    return 0;
}

static int find_cores(struct figure *cores, const struct capacity_source *source,
                      const struct cgroup_limits *limits, struct err *err)
{
    uint64_t allowed = source->cores;

    if (!allowed && affinity_cores(&allowed, err))
        return -1;
    lower(cores, allowed, "CPU affinity");
    if (limits->cores < (double)cores->value)
        lower(cores, (uint64_t)floor(limits->cores), "%.2f by %s", limits->cores, limits->cores_from);
    /* Below one core counts as one: a job can not ask for less. */
    if (cores->value < 1)
        cores->value = 1;
    return 0;
}

static uint64_t less(uint64_t value, uint64_t reserve)
{
    return value > reserve ? value - reserve : 0;
}

static int find_memory(struct figure *mem, const char *root, const struct cgroup_limits *limits,
                       uint64_t reserve, struct err *err)
{
    uint64_t machine = 0;
    char kept[QUANTITY_TEXT_SIZE] = "";

    if (machine_memory(root, &machine, err))
        return -1;
    quantity_format_bytes((int64_t)reserve, kept);
    lower(mem, less(machine, reserve), "the machine's, less %s", kept);
    lower(mem, less(limits->mem, reserve), "%s, less %s", limits->mem_from, kept);
    return 0;
}

static int find_disk(struct figure *disk, int disk_fd, uint64_t reserve, struct err *err)
{
    struct statvfs fs;

    if (FAULT("capacity.statvfs") ? (errno = EIO, -1) : fstatvfs(disk_fd, &fs))
        return err_set_file(err, errno, "the working folder's free space");
    lower(disk, less((uint64_t)fs.f_bavail * fs.f_frsize, reserve), "free in the working folder");
    return 0;
}

static void explain(struct capacity *capacity, const struct figure *cores, const struct figure *mem,
                    const struct figure *disk)
{
    char mem_text[QUANTITY_TEXT_SIZE], disk_text[QUANTITY_TEXT_SIZE];

    quantity_format_bytes((int64_t)(mem->value > INT64_MAX ? INT64_MAX : mem->value), mem_text);
    quantity_format_bytes((int64_t)(disk->value > INT64_MAX ? INT64_MAX : disk->value), disk_text);
    snprintf(capacity->why, sizeof capacity->why,
             "%llu cores (%.140s), %s of memory (%.140s), %s of disk (%.80s)",
             (unsigned long long)cores->value, cores->from, mem_text, mem->from, disk_text, disk->from);
}

int capacity_detect(struct capacity *capacity, int disk_fd, const struct amount *cap,
                    const struct amount *reserve, const struct capacity_source *source, struct err *err)
{
    static const struct amount nothing = {0};
    static const struct capacity_source real = {.root = "", .cores = 0};
    struct figure cores = {.value = UINT32_MAX}, mem = {.value = UINT64_MAX}, disk = {.value = UINT64_MAX};
    struct cgroup_limits limits;

    cap = cap ? cap : &nothing;
    reserve = reserve ? reserve : &nothing;
    source = source ? source : &real;
    memset(capacity, 0, sizeof *capacity);
    if (cgroup_read_limits(source->root, &limits, err) || find_cores(&cores, source, &limits, err) ||
        find_memory(&mem, source->root, &limits, reserve->mem, err) ||
        find_disk(&disk, disk_fd, reserve->disk, err))
        return err_prefix(err, "capacity");
    if (cap->cores)
        lower(&cores, cap->cores, "max.cores");
    if (cap->mem)
        lower(&mem, cap->mem, "max.mem");
    if (cap->disk)
        lower(&disk, cap->disk, "max.disk");
    capacity->total = (struct amount){.cores = (uint32_t)cores.value, .mem = mem.value, .disk = disk.value};
    explain(capacity, &cores, &mem, &disk);
    return 0;
}
