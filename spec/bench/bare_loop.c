/* The limit for spec/bench/jobs: reads each file of a folder, runs /bin/true by vfork, deletes the file. One
 * after the other, nothing else. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static int run_one(int folder, const char *name)
{
    char text[65536];
    static char program[] = "true";
    static char *const arguments[] = {program, NULL}, *const environment[] = {NULL};
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof text) <= 0)
        return -1;
    close(fd);
    pid_t child = vfork();
    if (child == 0) {
        execve("/bin/true", arguments, environment);
        _exit(127);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        return -1;
    return unlinkat(folder, name, 0);
}

int main(int argc, char **argv)
{
    DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
    struct dirent *entry;
    if (folder == NULL) {
        fprintf(stderr, "usage: bare_loop FOLDER\n");
        return 64;
    }
    while ((entry = readdir(folder)) != NULL)
        if (entry->d_name[0] != '.' && run_one(dirfd(folder), entry->d_name) < 0) {
            perror(entry->d_name);
            return 1;
        }
    closedir(folder);
    return 0;
}
