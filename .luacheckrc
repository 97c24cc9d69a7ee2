-- What luacheck may take for granted: LuaJIT without 5.2 extensions, and the one global of the host.
std = "luajit"
max_line_length = 120
read_globals = { "host" }
files["spec/unit"] = {
  std = "luajit+busted", read_globals = { "host", "fault", "engine_run", "cancel_at_each_yield", "set_environment" }
}
files["policies"] = { std = "luajit" }
files["spec/support"] = { read_globals = { "host", "set_environment" } }
