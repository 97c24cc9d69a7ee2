/* A channel: values from any task (or from the engine) to tasks that wait for them. Loop thread. */
#ifndef MOONRUNNER_LUA_LUA_CHANNEL_H
#define MOONRUNNER_LUA_LUA_CHANNEL_H

#include <lua.h>

/* host.task.channel() */
int lua_channel_new(lua_State *L);
/* The value on top of the stack goes to the channel at `index` and is popped. Raises when that is no channel.
 */
void lua_channel_send(lua_State *L, int index);

#endif
