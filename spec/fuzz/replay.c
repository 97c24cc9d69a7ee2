/* Runs a fuzz target over its corpus without a fuzzer: each file as it is, and then changed at random from a
 * fixed seed, so that a failure comes again. `replay FOLDER [ROUNDS]`; with MOONRUNNER_SOAK, 100 times as
 * many rounds.
 *
 * With clang: clang -fsanitize=fuzzer,address -Ihost spec/fuzz/fuzz_X.c host/base/X.c … and no replay.c. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t seed = 1;

static size_t pick(size_t n)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (size_t)(seed >> 33) % n;
}

/* One small change: a byte set, a piece removed, doubled, or the end cut off. */
static size_t change(uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t at = pick(size), piece = 1 + pick(size - at < 16 ? size - at : 16);
    switch (pick(4)) {
    case 0:
        data[at] = pick(2) ? (uint8_t)pick(256) : (uint8_t) "{}[]\",:\\u0e-"[pick(12)];
        return size;
    case 1:
        memmove(data + at, data + at + piece, size - at - piece);
        return size - piece;
    case 2:
        memmove(data + at + piece, data + at, size - at);
        return size + piece;
    default:
        return at;
    }
}

static void run_file(const char *folder, const char *name, unsigned long rounds)
{
    static uint8_t original[INPUT_MAX], data[INPUT_MAX + 1024];
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        exit(1);
    }
    size_t original_size = fread(original, 1, sizeof original, file);
    fclose(file);
    LLVMFuzzerTestOneInput(original, original_size);
    for (unsigned long round = 0; round < rounds; round++) {
        memcpy(data, original, original_size);
        size_t size = original_size;
        for (size_t changes = 1 + pick(8); changes > 0; changes--)
            size = change(data, size);
        LLVMFuzzerTestOneInput(data, size);
    }
}

int main(int argc, char **argv)
{
    unsigned long rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 500;
    unsigned files = 0;
    DIR *folder = argc > 1 ? opendir(argv[1]) : NULL;
    if (!folder) {
        fprintf(stderr, "usage: %s FOLDER [ROUNDS]\n", argv[0]);
        return 1;
    }
    if (getenv("MOONRUNNER_SOAK"))
        rounds *= 100;
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] != '.') {
            run_file(argv[1], entry->d_name, rounds);
            files++;
        }
    }
    closedir(folder);
    printf("%u files, each as it is and changed %lu times\n", files, rounds);
    return files == 0;
}
