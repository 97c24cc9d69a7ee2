/* The closed list of error codes, for C and for Lua: a caller branches on the code, never on the message.
 *
 * X(symbol, "name", retryable): retryable says whether the same call may succeed later without anybody
 * changing anything. A new code is added here and nowhere else. */
#ifndef MOONRUNNER_BASE_ERROR_CODES_H
#define MOONRUNNER_BASE_ERROR_CODES_H

#define ERROR_CODES(X)                                                                                       \
    X(ERR_NONE, "none", false)                                                                               \
    X(ERR_NO_MEMORY, "memory.exhausted", true)                                                               \
    X(ERR_INTERNAL, "internal", false)                                                                       \
    X(ERR_FAULT, "fault.injected", true)                                                                     \
    /* tasks */                                                                                              \
    X(ERR_TASK_CANCELLED, "task.cancelled", false)                                                           \
    X(ERR_TASK_DEADLINE, "task.deadline", false)                                                             \
    X(ERR_TASK_OVERRAN, "task.overran", false)                                                               \
    X(ERR_TASK_RAISED, "task.raised", false)                                                                 \
    /* files */                                                                                              \
    X(ERR_FILE_NOT_FOUND, "file.not_found", false)                                                           \
    X(ERR_FILE_EXISTS, "file.exists", false)                                                                 \
    X(ERR_FILE_DENIED, "file.denied", false)                                                                 \
    X(ERR_FILE_FULL, "file.full", true)                                                                      \
    X(ERR_FILE_LOCKED, "file.locked", true)                                                                  \
    X(ERR_FILE_NOT_EMPTY, "file.not_empty", false)                                                           \
    X(ERR_FILE_NOT_DIRECTORY, "file.not_directory", false)                                                   \
    X(ERR_FILE_NOT_REGULAR, "file.not_regular", false)                                                       \
    X(ERR_FILE_TOO_BIG, "file.too_big", false)                                                               \
    X(ERR_FILE_GONE, "file.gone", false)                                                                     \
    X(ERR_FILE_BAD_NAME, "file.bad_name", false)                                                             \
    X(ERR_FILE_IO, "file.io", true)                                                                          \
    /* archives */                                                                                           \
    X(ERR_ARCHIVE_UNSAFE_ENTRY, "archive.unsafe_entry", false)                                               \
    X(ERR_ARCHIVE_TOO_BIG, "archive.too_big", false)                                                         \
    X(ERR_ARCHIVE_TOO_MANY, "archive.too_many", false)                                                       \
    X(ERR_ARCHIVE_RATIO, "archive.ratio", false)                                                             \
    X(ERR_ARCHIVE_CORRUPT, "archive.corrupt", false)                                                         \
    /* processes: the step before exec that failed */                                                        \
    X(ERR_PROCESS_SPAWN, "process.spawn", true)                                                              \
    X(ERR_PROCESS_SESSION, "process.session", false)                                                         \
    X(ERR_PROCESS_PRCTL, "process.prctl", false)                                                             \
    X(ERR_PROCESS_CGROUP, "process.cgroup", false)                                                           \
    X(ERR_PROCESS_SETRLIMIT, "process.setrlimit", false)                                                     \
    X(ERR_PROCESS_CHDIR, "process.chdir", false)                                                             \
    X(ERR_PROCESS_OUTPUT, "process.output", false)                                                           \
    X(ERR_PROCESS_USER, "process.user", false)                                                               \
    X(ERR_PROCESS_EXEC, "process.exec", false)                                                               \
    X(ERR_PROCESS_ALIVE, "process.alive", true)                                                              \
    /* bookings: the first thing that is missing */                                                          \
    X(ERR_ACCOUNT_CORES, "account.cores", true)                                                              \
    X(ERR_ACCOUNT_MEMORY, "account.memory", true)                                                            \
    X(ERR_ACCOUNT_DISK, "account.disk", true)                                                                \
    X(ERR_ACCOUNT_GPUS, "account.gpus", true)                                                                \
    X(ERR_ACCOUNT_VALUE, "account.value", false)                                                             \
    /* text */                                                                                               \
    X(ERR_JSON_INVALID, "json.invalid", false)                                                               \
    X(ERR_BYTES_INVALID, "bytes.invalid", false)                                                             \
    X(ERR_DURATION_INVALID, "duration.invalid", false)                                                       \
    X(ERR_OPTION_INVALID, "option.invalid", false)                                                           \
    /* queues and stores */                                                                                  \
    X(ERR_QUEUE_GONE, "queue.gone", false)                                                                   \
    X(ERR_QUEUE_NAME, "queue.name", false)                                                                   \
    X(ERR_STORE_NOT_FOUND, "store.not_found", false)                                                         \
    X(ERR_STORE_CHANGED, "store.changed", true)                                                              \
    X(ERR_STORE_DENIED, "store.denied", false)                                                               \
    X(ERR_STORE_UNSUPPORTED, "store.unsupported", false)                                                     \
    /* jobs */                                                                                               \
    X(ERR_MESSAGE_INVALID, "message.invalid", false)                                                         \
    X(ERR_MESSAGE_TOO_BIG, "message.too_big", false)                                                         \
    X(ERR_ENVIRONMENT_INTERPRETER, "environment.interpreter", false)                                         \
    X(ERR_ENVIRONMENT_BUILD, "environment.build", true)                                                      \
    X(ERR_SCRIPT_INVALID, "script.invalid", false)                                                           \
    X(ERR_POLICY_INVALID, "policy.invalid", false)

#endif
