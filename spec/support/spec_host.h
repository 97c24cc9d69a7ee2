/* What the parts of spec-host share. */
#ifndef MOONRUNNER_SPEC_HOST_H
#define MOONRUNNER_SPEC_HOST_H

#include <lua.h>
#include <stddef.h>

/* Open file descriptors of this process. */
size_t spec_open_files(void);
/* Children of this process that nobody has reaped. */
size_t spec_children(void);

/* spec_host_tools.c: sets the globals that it lists at its head. */
void spec_tools_open(lua_State *L);

#endif
