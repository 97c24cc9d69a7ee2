/* What is in files: whole reads and writes of small ones, and the copy of one of any size.
 *
 * As in file.h: 0, or -1 with err set. Only regular files are opened, never through a link in the last
 * component, and nothing here ever waits for a FIFO or a device (file.not_regular). Any thread. */
#ifndef MOONRUNNER_FILE_CONTENT_H
#define MOONRUNNER_FILE_CONTENT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "file/file.h"

/* Adds the whole file to out. More than max bytes: file.too_big, known before anything is read; also when the
 * file grows beyond it meanwhile. */
int dir_read(const struct dir *, const char *name, uint64_t max, struct buffer *out, struct err *);
/* Adds at most max bytes from offset on to out; none at or after the end. */
int dir_read_at(const struct dir *, const char *name, uint64_t offset, uint64_t max, struct buffer *out,
                struct err *);

/* file.exists when the name is taken, by a link too. On -1 the file is not there. */
int dir_create(const struct dir *, const char *name, const void *data, size_t size, unsigned mode,
               struct err *);

#define MODE_KEEP (~0u)
/* Whoever reads the name sees the old file or the whole new one. It is written as ".<16 hexadecimal digits>"
 * beside `name`, or in `temporary` (a folder of the same file system) where that is not NULL. MODE_KEEP: the
 * mode, and where permitted the owner, of the file that is replaced (file.not_found without one). On -1
 * nothing has changed. */
int dir_replace(const struct dir *, const char *name, const void *data, size_t size, unsigned mode,
                const struct dir *temporary, struct err *);
/* Adds to the end; makes the file if it is not there. After -1 (a full disk) a first part may be there. */
int dir_append(const struct dir *, const char *name, const void *data, size_t size, unsigned mode,
               struct err *);

/* Blocking, for a worker: a copy of one regular file, its mode kept, replacing to_name as dir_replace does.
 * task.cancelled soon after *cancelled (may be NULL) was set. */
int dir_copy(const struct dir *, const char *name, const struct dir *to, const char *to_name,
             const atomic_bool *cancelled, struct err *);

#endif
