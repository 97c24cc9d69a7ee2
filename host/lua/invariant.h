/* INVARIANT(n, condition): stops the program when one of the nine invariants of lua/task.h is broken. It
 * stays on in every build: an engine that has lost count of its tasks must not go on holding other people's
 * jobs. */
#ifndef MOONRUNNER_LUA_INVARIANT_H
#define MOONRUNNER_LUA_INVARIANT_H

#define INVARIANT(number, condition)                                                                         \
    ((condition) ? (void)0 : invariant_broken((number), #condition, __FILE__, __LINE__))

/* Writes one line to stderr and aborts. Any thread. */
_Noreturn void invariant_broken(int number, const char *condition, const char *file, int line);
/* The same for memory that ran out where nobody is left who could be told. */
_Noreturn void engine_out_of_memory(const char *doing);

#endif
