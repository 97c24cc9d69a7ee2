/* What others write, we read: every archive that Python, GNU tar and zip make of one tree. */
#include "../support/archive_unpacking.h"

static void run(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void run(const char *format, ...)
{
    char command[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    if (system(command))
        fail_msg("failed: %s", command);
}

static struct buffer bytes_of(int dir_fd, const char *name)
{
    struct buffer bytes = BUFFER_EMPTY;
    char block[65536];
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (ssize_t n; (n = read(fd, block, sizeof block)) > 0;)
        assert_false(buffer_add(&bytes, block, (size_t)n));
    close(fd);
    return bytes;
}

/* Unpacks every archive of the folder in turn, and looks at the result with `check`. Returns how many there
 * were. */
static int unpack_each(const char *folder, void (*check)(const char *name))
{
    int count = 0, fd = openat(scratch.in_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fdopendir(fd);
    for (struct dirent *child; (child = readdir(list));) {
        if (*child->d_name == '.')
            continue;
        struct archive_result result;
        struct buffer bytes = bytes_of(fd, child->d_name);
        struct err err;
        if (unpack_bytes(&bytes, scratch.in_fd, "out", &no_limits, &result, &err))
            fail_msg("%s: %s: %s", child->d_name, err_code_name(err.code), err.message);
        check(child->d_name);
        buffer_free(&bytes);
        clear();
        count++;
    }
    closedir(list);
    return count;
}

static void check_python(const char *name)
{
    bool zip = strstr(name, ".zip") != NULL;
    assert_string_equal(scratch_read(scratch.in_fd, "out/file"), "from Python");
    assert_string_equal(scratch_read(scratch.in_fd, "out/sub/deep"), "deep");
    assert_string_equal(scratch_read(scratch.in_fd, "out/nom-\xc3\xa9"), "accent");
    assert_int_equal(stat_of("out/big").st_size, 2000000);
    assert_int_equal(scratch_count(scratch.in_fd, "out"), zip ? 5 : 6);
    if (zip)
        return;
    assert_int_equal(stat_of("out/file").st_mode & 07777, 0750);
    assert_int_equal(stat_of("out/file").st_mtim.tv_sec, 1200000000);
    assert_true(S_ISLNK(stat_of("out/link").st_mode));
}

static void what_python_writes_is_read(void **state)
{
    (void)state;
    assert_false(mkdirat(scratch.in_fd, "made", 0755));
    run("python3 spec/support/make_archives.py %s/in/made", scratch.root);
    assert_int_equal(unpack_each("made", check_python), 12);
}

static void check_tar(const char *name)
{
    (void)name;
    assert_string_equal(scratch_read(scratch.in_fd, "out/sub/file"), "from tar");
    assert_int_equal(stat_of("out/sub/file").st_nlink, strstr(name, "zip") ? 1 : 2);
    assert_int_equal(stat_of("out/holes").st_size, 4 << 20);
}

static void what_tar_and_zip_write_is_read(void **state)
{
    (void)state;
    static const char *const options[] = {
        "--format=gnu",   "--format=gnu -S", "--format=posix", "--format=posix -S",
        "--format=ustar", "--zstd",          "--gzip",         "--xz",
        "--bzip2"};
    assert_false(mkdirat(scratch.in_fd, "made", 0755) || mkdirat(scratch.in_fd, "tree", 0755) ||
                 mkdirat(scratch.in_fd, "tree/sub", 0755));
    scratch_write(scratch.in_fd, "tree/sub/file", "from tar");
    scratch_write(scratch.in_fd, "tree/holes", "begin");
    assert_false(linkat(scratch.in_fd, "tree/sub/file", scratch.in_fd, "tree/hard", 0));
    run("truncate -s 4M %s/in/tree/holes", scratch.root);
    const int count = (int)(sizeof options / sizeof *options);
    for (int i = 0; i < count; i++)
        run("tar %s -C %s/in/tree -cf %s/in/made/%d.tar .", options[i], scratch.root, scratch.root, i);
    run("cd %s/in/tree && zip -qr ../made/a.zip .", scratch.root);
    assert_int_equal(unpack_each("made", check_tar), count + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_python_writes_is_read),
        TEST(what_tar_and_zip_write_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
