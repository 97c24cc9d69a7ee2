/* Named points at which a test build fails on purpose: the Nth call of FAULT("archive.write") is true.
 *
 * In a release build FAULT is the constant false and nothing of this is compiled in. A test arms one point
 * with fault_arm, or from outside with MOONRUNNER_FAULT=archive.write:3 (several: comma). Each point is
 * written like if (FAULT("archive.write")) return err_set(err, ERR_FAULT, "archive.write: injected fault");
 * or, where an errno is wanted,  `fd = FAULT("file.open") ? (errno = EIO, -1) : openat(…)`. */
#ifndef MOONRUNNER_BASE_FAULT_H
#define MOONRUNNER_BASE_FAULT_H

#include <stdbool.h>

#ifdef MOONRUNNER_FAULTS
bool fault_hit(const char *name);
/* Arms `name`: its nth call from now (1 = the next) fails, once. nth 0 disarms. Resets the count. Any thread.
 */
void fault_arm(const char *name, unsigned nth);
/* Disarms all and forgets all counts. */
void fault_reset(void);
/* How often the point was passed since it was armed or since fault_reset. */
unsigned fault_count(const char *name);
/* Names of the points passed since fault_reset, separated by spaces; the caller frees. NULL: out of memory.
 */
char *fault_names(void);
#define FAULT(name) fault_hit(name)
#else
#define FAULT(name) false
#endif

#endif
