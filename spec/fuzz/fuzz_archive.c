/* Fuzz target: any bytes as an archive.
 *
 * Besides memory errors (sanitizers), it holds what must be true of every archive: nothing outside the target
 * changes, what is refused leaves nothing, what is taken leaves the target alone, and no descriptor stays
 * open. */
#include <stdint.h>

#include "../support/archive_fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A change in a header would mostly be seen by its checksum alone: put that right, so that the rest is tried.
 */
static void repair_checksums(struct buffer *bytes)
{
    for (size_t at = 0; at + 512 <= bytes->size; at += 512) {
        struct tar_header header;
        memcpy(&header, bytes->data + at, 512);
        if (memcmp(header.magic, "ustar", 5))
            continue;
        tar_sum(&header);
        memcpy(bytes->data + at, &header, 512);
    }
}

static struct scratch scratch;

static void remove_scratch(void)
{
    scratch_close(&scratch);
}

static void open_once(void)
{
    static bool is_open;
    if (is_open)
        return;
    scratch_open(&scratch);
    atexit(remove_scratch);
    is_open = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct archive_limits limits = {.max_bytes = 1 << 20, .max_entries = 200, .max_ratio = 1000};
    struct archive_result result;
    struct err err;
    struct buffer bytes = BUFFER_EMPTY;
    open_once();
    assert(!buffer_reserve(&bytes, 1) && !buffer_add(&bytes, data, size));
    repair_checksums(&bytes);
    int descriptors = open_descriptors();
    int status = unpack_bytes(&bytes, scratch.in_fd, "out", &limits, &result, &err);
    buffer_free(&bytes);
    assert(open_descriptors() == descriptors);
    assert(scratch_untouched(&scratch));
    assert(scratch_count(scratch.in_fd, ".") == (status ? 0 : 1));
    assert(status || result.bytes_unpacked <= limits.max_bytes);
    beside_remove(scratch.in_fd, "out");
    return 0;
}
