/* Byte strings and durations as people, studio-go-runner and the StudioML client write them. Pure; any
 * thread. */
#ifndef MOONRUNNER_BASE_QUANTITY_H
#define MOONRUNNER_BASE_QUANTITY_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define QUANTITY_TEXT_SIZE 32

/* "2gb" = 2·10⁹, "2 GiB" = 2³¹, "1,024mb", "1.5g", "512": digits, dots and commas (commas are dropped), then
 * one of b k kb ki kib m mb mi mib g gb gi gib t tb ti tib p pb pi pib e eb ei eib in any case, or nothing; a
 * fraction of a byte is dropped. err: bytes.invalid, which says what was wrong; also for 2⁶³ and more. */
int quantity_parse_bytes(const char *text, size_t size, int64_t *bytes, struct err *);

/* Go's syntax, "1h30m", "1.5h", "90s", "500ms", "0", units ns us µs ms s m h; and the client's, which is the
 * same in any case with a sign at each part ("1H-10M"). A sign holds until the next one. A part of a
 * millisecond counts as a whole one, so that no duration above 0 becomes 0. err: duration.invalid, which says
 * what was wrong. */
int quantity_parse_duration(const char *text, size_t size, int64_t *ms, struct err *);

/* For people: "182 MiB", "1.5 GiB", "0 B". */
void quantity_format_bytes(int64_t bytes, char out[QUANTITY_TEXT_SIZE]);
/* For people: "340 ms", "12.3 s", "2 min 5 s", "3 h 12 min", "2 d 4 h". */
void quantity_format_duration(int64_t ms, char out[QUANTITY_TEXT_SIZE]);

#endif
