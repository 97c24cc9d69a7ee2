/* The three clocks. Any thread; async-signal-safe. */
#ifndef MOONRUNNER_BASE_CLOCK_H
#define MOONRUNNER_BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_monotonic_ms(void); /* CLOCK_MONOTONIC: for waits and intervals */
uint64_t clock_monotonic_us(void);
int64_t clock_wall_ms(void);        /* CLOCK_REALTIME since 1970: for documents and logs */
uint64_t clock_thread_cpu_us(void); /* CPU time of the calling thread: for budgets */

#endif
