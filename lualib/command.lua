-- Runs a helper program to its end (an interpreter, pip) and gives back what it printed.
local errors = require "errors"

local command = {}

local GRACE = 2000 -- ms between TERM and KILL for a helper program that is no longer wanted
local OUTPUT_SHOWN = 64 * 1024

--- The absolute path of a program, found in the host's own PATH.
---@param name string without a slash
---@return string|nil
function command.find(name)
  local path = host.environment.get("PATH") or "/usr/local/bin:/usr/bin:/bin"
  for folder in path:gmatch("[^:]+") do
    local candidate = folder .. "/" .. name
    local entry = host.file.root:stat(candidate)
    local executable = entry and entry.kind == "file" and math.floor(entry.mode / 64) % 2 == 1
    if executable or (entry and entry.kind == "link") then
      return candidate
    end
  end
end

--- Waits for `process`; when the task is cancelled or its deadline passes, stops it first: no program is left behind.
---@param process table of host.process.spawn
---@param grace integer ms between TERM and KILL
---@return table ending
---@return table|nil err why it was stopped
function command.wait(process, grace)
  local ending, err = process:wait()
  if ending then
    return ending
  end
  process:stop(grace)
  -- KILL can not be refused: what keeps a process after it is the kernel, and nobody can hurry that.
  repeat
    ending = host.task.shield(grace + 60000, process.wait, process)
  until ending
  return ending, err
end

--- Runs a program to its end. Waits.
---@param options {path: string, argv: string[], env: table<string, string>, dir: table, log: string}
--- dir: open folder it runs in; log: name of the file there that takes its output (appended)
---@return string|nil output the last 64 KiB of what it printed, when it exited with 0
---@return table|nil err environment.build with the exit status and the last line
function command.run(options)
  local before = options.dir:stat(options.log)
  local process, err = host.process.spawn({
    path = options.path,
    argv = options.argv,
    env = options.env,
    dir = options.dir,
    output = options.log,
  })
  if not process then
    return nil, err
  end
  local ending, stopped_by = command.wait(process, GRACE)
  if stopped_by then
    return nil, stopped_by
  end
  local entry = options.dir:stat(options.log)
  local size = entry and entry.size or 0
  local start = math.max(before and before.size or 0, size - OUTPUT_SHOWN)
  local output = options.dir:read_at(options.log, start, OUTPUT_SHOWN) or ""
  if ending.code ~= 0 then
    local last_line = output:match("([^\n]+)%s*$") or "it printed nothing"
    local how = ending.code and "exit status " .. ending.code or "signal " .. tostring(ending.signal)
    return nil, errors.new("environment.build", ("%s: %s: %s"):format(options.argv[1], how, last_line))
  end
  return output
end

return command
