/* Bounded bytes between two threads: one writer, one reader, an abort from either side.
 *
 * The only way into and out of archives. Both sides block; neither may be the loop thread. */
#ifndef MOONRUNNER_BASE_PIPE_H
#define MOONRUNNER_BASE_PIPE_H

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

struct pipe;

/* capacity in bytes, 0 = 4 MiB. NULL: out of memory. Freed by pipe_destroy when both sides are done. */
struct pipe *pipe_create(size_t capacity, struct err *);
void pipe_destroy(struct pipe *);

/* Writer. Blocks until all is taken. -1: aborted (err is the aborter's). */
int pipe_write(struct pipe *, const void *data, size_t size, struct err *);
/* Writer. The end of the stream; the reader sees 0 after the last byte. */
void pipe_close(struct pipe *);

/* Reader. Blocks until at least one byte; the bytes stay valid until the next call. 0 at the end; -1:
 * aborted. */
ssize_t pipe_read(struct pipe *, const void **data, struct err *);

/* Either side, or any other thread, at any time, more than once (the first reason stays): both sides fail
 * with `why` (its code and sentence) at their next call, also a call that is blocked now. */
void pipe_abort(struct pipe *, const struct err *why);

/* Reads a whole open file into the pipe and closes it; on failure it aborts the pipe. Blocking. fd stays
 * yours. */
int pipe_write_file(struct pipe *, int fd, const char *name, struct err *);
/* Writes all that comes into fd. Blocking. -1: the pipe was aborted, or writing failed (then the pipe is
 * aborted). */
int pipe_read_file(struct pipe *, int fd, const char *name, struct err *);

#endif
