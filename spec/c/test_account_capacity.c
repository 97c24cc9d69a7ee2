/* Capacity, read from made-up trees of /proc and cgroups. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "account/capacity.h"
#include "base/fault.h"

#define GIB (UINT64_C(1) << 30)

static char root[64];
static int root_fd;

static int make_root(void **state)
{
    (void)state;
    strcpy(root, "/tmp/moonrunner-capacity-XXXXXX");
    assert_non_null(mkdtemp(root));
    root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return root_fd < 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static int remove_root(void **state)
{
    (void)state;
    close(root_fd);
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Writes a file below the root, and makes the folders on the way. */
static void put(const char *name, const char *text)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *slash = strchr(path + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0755);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void put_machine(const char *cgroup, const char *mountinfo)
{
    put("proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\n");
    put("proc/self/cgroup", cgroup);
    put("proc/self/mountinfo", mountinfo);
}

static int detect(struct capacity *capacity, uint32_t cores, const struct amount *cap, struct err *err)
{
    const struct amount reserve = {.mem = CAPACITY_RESERVE_MEMORY};
    struct capacity_source source = {.root = root, .cores = cores};

    return capacity_detect(capacity, root_fd, cap, &reserve, &source, err);
}

static struct capacity detected(uint32_t cores)
{
    struct err err = {0};
    struct capacity capacity;

    if (detect(&capacity, cores, NULL, &err))
        fail_msg("%s", err.message);
    return capacity;
}

#define V2_MOUNT "25 1 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"

static void without_cgroups_it_is_the_machine_less_what_the_host_keeps(void **state)
{
    (void)state;
    put("proc/meminfo", "MemTotal:        8388608 kB\n");
    struct capacity capacity = detected(6);

    assert_int_equal(capacity.total.cores, 6);
    assert_int_equal(capacity.total.mem, 8 * GIB - CAPACITY_RESERVE_MEMORY);
    assert_true(capacity.total.disk > 0);
    assert_int_equal(capacity.n_gpus, 0);
    assert_non_null(strstr(capacity.why, "6 cores (CPU affinity)"));
    assert_non_null(strstr(capacity.why, "less 128 MiB"));
}

static void a_v2_quota_and_limit_of_our_own_group_count(void **state)
{
    (void)state;
    put_machine("0::/pod/box\n", V2_MOUNT);
    put("sys/fs/cgroup/pod/box/cpu.max", "250000 100000\n");
    put("sys/fs/cgroup/pod/box/memory.max", "2147483648\n");
    struct capacity capacity = detected(8);

    assert_int_equal(capacity.total.cores, 2);
    assert_int_equal(capacity.total.mem, 2 * GIB - CAPACITY_RESERVE_MEMORY);
    assert_non_null(strstr(capacity.why, "2.50 by /sys/fs/cgroup/pod/box/cpu.max"));
    assert_non_null(strstr(capacity.why, "/sys/fs/cgroup/pod/box/memory.max"));
}

static void a_group_above_ours_can_be_the_tighter_one(void **state)
{
    (void)state;
    put_machine("0::/pod/box\n", V2_MOUNT);
    put("sys/fs/cgroup/pod/box/cpu.max", "max 100000\n");
    put("sys/fs/cgroup/pod/cpu.max", "300000 100000\n");
    put("sys/fs/cgroup/pod/box/memory.max", "max\n");
    put("sys/fs/cgroup/memory.max", "1073741824\n");
    struct capacity capacity = detected(8);

    assert_int_equal(capacity.total.cores, 3);
    assert_int_equal(capacity.total.mem, GIB - CAPACITY_RESERVE_MEMORY);
}

static void v1_quotas_and_limits_count(void **state)
{
    (void)state;
    put_machine("4:memory:/docker/abc\n3:cpuacct,cpu:/docker/abc\n1:name=systemd:/docker/abc\n",
                "30 1 0:1 /docker/abc /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
                "31 1 0:2 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
                "32 1 0:3 /docker/abc /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n");
    put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "400000\n");
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "3221225472\n");
    struct capacity capacity = detected(8);

    assert_int_equal(capacity.total.cores, 4);
    assert_int_equal(capacity.total.mem, 3 * GIB - CAPACITY_RESERVE_MEMORY);
}

static void a_group_below_the_top_of_a_containers_mount_is_found(void **state)
{
    (void)state;
    put_machine("0::/docker/abc/inner\n",
                "25 1 0:22 /docker/abc /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n");
    put("sys/fs/cgroup/inner/cpu.max", "200000 100000\n");

    assert_int_equal(detected(8).total.cores, 2);
}

static void no_quota_of_our_own_does_not_hide_the_one_above(void **state)
{
    (void)state;
    put_machine("3:cpu:/a/b\n", "30 1 0:1 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n");
    put("sys/fs/cgroup/cpu/a/b/cpu.cfs_period_us", "100000\n");
    put("sys/fs/cgroup/cpu/a/b/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "50000\n");
    put("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "150000\n");

    assert_int_equal(detected(8).total.cores, 3);
}

static void v1_without_limits_leaves_the_machine(void **state)
{
    (void)state;
    put_machine("4:memory:/\n3:cpu:/\n", "30 1 0:1 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
                                         "31 1 0:2 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    put("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    struct capacity capacity = detected(8);

    assert_int_equal(capacity.total.cores, 8);
    assert_int_equal(capacity.total.mem, 8 * GIB - CAPACITY_RESERVE_MEMORY);
}

static void on_a_hybrid_system_the_hierarchy_with_the_controllers_counts(void **state)
{
    (void)state;
    put_machine("4:memory:/box\n0::/other\n",
                "31 1 0:2 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
                "33 1 0:4 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    put("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "1073741824\n");
    put("sys/fs/cgroup/unified/other/cgroup.procs", "\n");
    struct capacity capacity = detected(8);

    assert_int_equal(capacity.total.cores, 8);
    assert_int_equal(capacity.total.mem, GIB - CAPACITY_RESERVE_MEMORY);
}

static void less_than_one_core_counts_as_one(void **state)
{
    (void)state;
    put_machine("0::/\n", V2_MOUNT);
    put("sys/fs/cgroup/cpu.max", "20000 100000\n");

    assert_int_equal(detected(8).total.cores, 1);
}

static void a_limit_below_the_reserve_leaves_no_memory(void **state)
{
    (void)state;
    put_machine("0::/\n", V2_MOUNT);
    put("sys/fs/cgroup/memory.max", "1048576\n");

    assert_int_equal(detected(8).total.mem, 0);
}

static void caps_lower_but_never_raise(void **state)
{
    (void)state;
    struct err err;
    struct capacity capacity;
    struct amount low = {.cores = 2, .mem = 1000, .disk = 10};
    struct amount high = {.cores = 99, .mem = 99 * GIB};

    put("proc/meminfo", "MemTotal:        8388608 kB\n");
    assert_int_equal(detect(&capacity, 6, &low, &err), 0);
    assert_int_equal(capacity.total.cores, 2);
    assert_int_equal(capacity.total.mem, 1000);
    assert_int_equal(capacity.total.disk, 10);
    assert_non_null(strstr(capacity.why, "max.cores"));
    assert_int_equal(detect(&capacity, 6, &high, &err), 0);
    assert_int_equal(capacity.total.cores, 6);
    assert_int_equal(capacity.total.mem, 8 * GIB - CAPACITY_RESERVE_MEMORY);
}

static void a_file_that_makes_no_sense_is_named(void **state)
{
    (void)state;
    struct err err;
    struct capacity capacity;

    put_machine("0::/\n", V2_MOUNT);
    put("sys/fs/cgroup/cpu.max", "lots\n");
    assert_int_equal(detect(&capacity, 8, NULL, &err), -1);
    assert_int_equal(err.code, ERR_ACCOUNT_VALUE);
    assert_non_null(strstr(err.message, "cpu.max"));
    put("sys/fs/cgroup/cpu.max", "max 100000\n");
    put("sys/fs/cgroup/memory.max", "-5\n");
    assert_int_equal(detect(&capacity, 8, NULL, &err), -1);
    assert_non_null(strstr(err.message, "memory.max"));
    put("sys/fs/cgroup/memory.max", "max\n");
    put("proc/meminfo", "nothing\n");
    assert_int_equal(detect(&capacity, 8, NULL, &err), -1);
    assert_non_null(strstr(err.message, "MemTotal"));
}

static void this_machine_has_a_capacity(void **state)
{
    (void)state;
    struct err err;
    struct capacity capacity;

    assert_int_equal(capacity_detect(&capacity, root_fd, NULL, NULL, NULL, &err), 0);
    assert_true(capacity.total.cores >= 1);
    assert_true(capacity.total.mem > 0);
}

#ifdef MOONRUNNER_FAULTS
static void every_call_that_fails_is_a_clean_error(void **state)
{
    (void)state;
    struct err err;
    struct capacity capacity;
    const char *points[] = {"capacity.open", "capacity.read", "capacity.memory", "capacity.affinity",
                            "capacity.statvfs"};

    put_machine("0::/\n", V2_MOUNT);
    put("sys/fs/cgroup/cpu.max", "max 100000\n");
    put("sys/fs/cgroup/memory.max", "max\n");
    for (size_t i = 0; i < sizeof points / sizeof *points; i++)
        for (unsigned nth = 1;; nth++) {
            fault_reset();
            fault_arm(points[i], nth);
            int result = detect(&capacity, 0, NULL, &err);
            if (fault_count(points[i]) < nth)
                break;
            assert_int_equal(result, -1);
            assert_memory_equal(err.message, "capacity: ", 10);
        }
    fault_reset();
}
#endif

int main(void)
{
#define IN_A_TREE(test) cmocka_unit_test_setup_teardown(test, make_root, remove_root)
    const struct CMUnitTest tests[] = {
        IN_A_TREE(without_cgroups_it_is_the_machine_less_what_the_host_keeps),
        IN_A_TREE(a_v2_quota_and_limit_of_our_own_group_count),
        IN_A_TREE(a_group_above_ours_can_be_the_tighter_one),
        IN_A_TREE(v1_quotas_and_limits_count),
        IN_A_TREE(a_group_below_the_top_of_a_containers_mount_is_found),
        IN_A_TREE(no_quota_of_our_own_does_not_hide_the_one_above),
        IN_A_TREE(v1_without_limits_leaves_the_machine),
        IN_A_TREE(on_a_hybrid_system_the_hierarchy_with_the_controllers_counts),
        IN_A_TREE(less_than_one_core_counts_as_one),
        IN_A_TREE(a_limit_below_the_reserve_leaves_no_memory),
        IN_A_TREE(caps_lower_but_never_raise),
        IN_A_TREE(a_file_that_makes_no_sense_is_named),
        IN_A_TREE(this_machine_has_a_capacity),
#ifdef MOONRUNNER_FAULTS
        IN_A_TREE(every_call_that_fails_is_a_clean_error),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
