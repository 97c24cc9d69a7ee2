/* Whole trees: removing one, and measuring one. Blocking: for workers.
 *
 * A link is never followed, a tree may be of any depth, and at most four descriptors are open at a time.
 * *cancelled (may be NULL) is looked at between entries: the call ends with task.cancelled soon after it was
 * set. */
#ifndef MOONRUNNER_FILE_TREE_H
#define MOONRUNNER_FILE_TREE_H

#include <stdatomic.h>
#include <stdint.h>

#include "file/file.h"

/* Removes what has that name: a tree, a file, or a link itself; nothing there is success. Folders that their
 * owner may not enter or change are made accessible. Another file system mounted inside is not touched, and
 * is an error. One entry that cannot be removed does not keep the rest: -1, and err tells the first. */
int tree_remove(const struct dir *, const char *name, const atomic_bool *cancelled, struct err *);

struct tree_size {
    uint64_t bytes;   /* allocated on disk, a file with several hard links in the tree once */
    uint64_t entries; /* the top one included */
    uint64_t unread;  /* folders whose contents could not be counted: not readable, or another file system */
};
/* The tree may change meanwhile: what vanishes is not counted. file.io (retryable) when a folder was moved
 * away under our feet. */
int tree_measure(const struct dir *, const char *name, const atomic_bool *cancelled, struct tree_size *out,
                 struct err *);

#endif
