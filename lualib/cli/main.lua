-- The commands of the program: each is a module of this folder with `summary` and `main(words) -> exit code`.
local main = {}

local USAGE = 64
local NAMES = { "run", "submit" }

local function help()
  local lines = { "usage: moonrunner COMMAND [OPTIONS]", "",
    "A runner host: takes experiments from queues, runs them within what they were given,",
    "brings their results back.", "" }
  for _, name in ipairs(NAMES) do
    lines[#lines + 1] = ("  %-10s %s"):format(name, require("cli." .. name).summary)
  end
  for _, line in ipairs({ "", "moonrunner COMMAND --help tells more of one; moonrunner --version tells which this is.",
    "", "In two terminals, to see it work:", "  moonrunner run", "  moonrunner submit --wait hello.py", "" }) do
    lines[#lines + 1] = line
  end
  return table.concat(lines, "\n")
end

--- Runs one command. Waits.
---@param command string|nil
---@param words string[] what follows it
---@return integer exit code
function main.main(command, words)
  if command == nil or command == "help" or command == "--help" or command == "-h" then
    host.console.write(help())
    return command and 0 or USAGE
  end
  for _, name in ipairs(NAMES) do
    if name == command then
      return require("cli." .. name).main(words)
    end
  end
  host.console.write_error(("moonrunner: %s is no command; moonrunner help lists them\n"):format(command))
  return USAGE
end

return main
