/* The one table of every option: parsing, `--help`, the environment's names and host.options in Lua follow
 * from it.
 *
 * A new option is one entry here. OPTION(name, type, default, …) with, where they apply:
 *   .help       one sentence; the type gives the unit
 *   .off        what `off` (or 0) means; without it neither is accepted
 *   .choices    the only accepted texts, separated by |
 *   .reference  the variable by which studio-go-runner knew it, read without our prefix
 * The default is written as a user would write it. In a PATH's default a leading ~, ${NAME:-else} and $UID
 * are expanded. Types: TEXT PATH BOOLEAN INTEGER BYTES DURATION (milliseconds) LIST (comma-separated). Names:
 * dotted, words joined by dashes; no two may differ only in case and . - _, no name may be a section of
 * another (spec/c/test_options.c). */
#ifndef MOONRUNNER_OPTION_TABLE_H
#define MOONRUNNER_OPTION_TABLE_H

#define OPTION_TABLE(GROUP, OPTION)                                                                          \
    GROUP("Places")                                                                                          \
    OPTION("config", PATH, "${XDG_CONFIG_HOME:-~/.config}/moonrunner/config.yaml", .off = "read no file",    \
           .help = "The YAML file of options; a missing file is an error only when it was named.")           \
    OPTION("working-dir", PATH, "${TMPDIR:-/tmp}/moonrunner-$UID", .reference = "WORKING_DIR",               \
           .help = "Where jobs run and environments are kept; a long path breaks multiprocessing.")          \
    OPTION("queue.folder", PATH, "${STUDIOML_HOME:-~/.studioml}/queue", .off = "serve no folder queues",     \
           .help = "The folder whose subfolders are queues, as the StudioML client makes them.")             \
    OPTION("scripts.folder", PATH, "off", .off = "the shipped scripts",                                      \
           .help = "Lua files that replace the shipped ones of the same name in scripts/; read at start.")   \
    OPTION("policies.folder", PATH, "off", .off = "the shipped policies",                                    \
           .help = "Lua files that replace the shipped ones of the same name in policies/; read at start.")  \
                                                                                                             \
    GROUP("Jobs")                                                                                            \
    OPTION("job.default-cpus", INTEGER, "1", .help = "CPU cores booked for a job that asks for none.")       \
    OPTION("job.default-ram", BYTES, "2g", .help = "Memory booked for a job that asks for none.")            \
    OPTION("job.default-hdd", BYTES, "3g", .help = "Disk space booked for a job that asks for none.")        \
    OPTION("job.max-duration", DURATION, "off", .off = "no limit",                                           \
           .help = "The longest time that one attempt may take, whatever its message asks for.")             \
    OPTION("job.attempts", INTEGER, "3",                                                                     \
           .help = "How many attempts may count against a job before it is set aside.")                      \
    OPTION("job.grace", DURATION, "10s", .off = "kill at once",                                              \
           .help = "Time between TERM and KILL when a job is stopped.")                                      \
    OPTION("job.inherit", LIST, "PATH,LANG,LC_ALL,TZ", .off = "inherit nothing",                             \
           .help = "Variables of the host's environment that a job sees; all others are kept from it.")      \
    OPTION("message.max-size", BYTES, "16MiB",                                                               \
           .help = "The largest message that is read; a larger one is set aside.")                           \
    OPTION("lua.slice", DURATION, "1s", .off = "no limit",                                                   \
           .help = "CPU time that a script may take without waiting; beyond it that job fails.")             \
                                                                                                             \
    GROUP("Capacity")                                                                                        \
    OPTION("max.cores", INTEGER, "off", .off = "all that this machine or container has",                     \
           .reference = "MAX_CORES", .help = "CPU cores that jobs may use together.")                        \
    OPTION("max.mem", BYTES, "off", .off = "all but 128 MiB", .reference = "MAX_MEM",                        \
           .help = "Memory that jobs may use together.")                                                     \
    OPTION("max.disk", BYTES, "off", .off = "all that is free", .reference = "MAX_DISK",                     \
           .help = "Disk space below the working directory that jobs may use together.")                     \
                                                                                                             \
    GROUP("Operation")                                                                                       \
    OPTION("limit.idle-duration", DURATION, "off", .off = "run for ever",                                    \
           .reference = "LIMIT_IDLE_DURATION", .help = "Exit once nothing has run or waited for so long.")   \
    OPTION("log.level", TEXT, "info", .choices = "debug|info|warning|error",                                 \
           .help = "The least important log lines that are written.")                                        \
    OPTION("log.form", TEXT, "auto", .choices = "auto|json|human",                                           \
           .help = "One JSON object a line, or a line for people; auto: for people on a terminal.")

#endif
