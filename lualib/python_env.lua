-- Python environments: a virtual environment for each set of interpreter and requirements, built once and shared.
--
-- <working-dir>/environments/<hash>/ is the environment; the file `.complete` in it says that it was built to the end.
-- A flock on <hash>.lock makes one builder of many jobs and hosts. A killed build leaves a folder without `.complete`,
-- which the next one removes. Each requirement is an argument of its own, never shell text.
local command = require "command"
local errors = require "errors"

local python_env = {}

local LOCK_RETRY = 200 -- ms
local COMPLETE = ".complete"
local LOG = "build.log"
local PROBE = "import sys; print('%d.%d.%d' % sys.version_info[:3]); print(sys.executable)"
-- What a build may know of the host: where packages come from and how to reach them. Never what a job gets.
local BUILD_VARIABLES = { "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR",
  "REQUESTS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
  "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "PYENV_ROOT", "PYENV_VERSION" }
local BUILD_PREFIXES = { "PIP_", "UV_" }

local function build_variables()
  local variables = { PYTHONUNBUFFERED = "1", PIP_DISABLE_PIP_VERSION_CHECK = "1", PIP_NO_INPUT = "1" }
  for _, prefix in ipairs(BUILD_PREFIXES) do
    for name, value in pairs(host.environment.with_prefix(prefix)) do
      variables[name] = value
    end
  end
  for _, name in ipairs(BUILD_VARIABLES) do
    variables[name] = host.environment.get(name)
  end
  return variables
end

-- The interpreter's own path and version. What stands in PATH may be a wrapper (pyenv's shims) that fails with a job's
-- HOME, so it is asked for the program behind it.
local function probe(candidate, directory)
  local log = "probe-" .. host.random.hex(8)
  local output, err = command.run({
    path = candidate, argv = { candidate, "-c", PROBE }, env = build_variables(), dir = directory, log = log,
  })
  directory:unlink(log)
  if not output then
    return nil, err
  end
  local version, path = output:match("^(%d+%.%d+%.%d+)\n(/[^\n]+)")
  if not version then
    return nil, errors.new("environment.interpreter", candidate .. " does not answer as a Python interpreter does")
  end
  return { path = path, version = version }
end

--- Finds the interpreter for a job. Waits.
---@param wanted string|false as the message's `pythonver`: "3.11", "3", or false for any
---@param directory table open folder for scratch files
---@return {path: string, version: string}|nil interpreter
---@return table|nil err environment.interpreter
function python_env.find_interpreter(wanted, directory)
  local major_minor = wanted and (wanted:match("^%d+%.%d+") or wanted:match("^%d+")) or "3"
  local names, last_error = { "python" .. major_minor }, nil
  if major_minor ~= "3" then
    names[2] = "python3"
  end
  for _, name in ipairs(names) do
    local candidate = command.find(name)
    if candidate then
      local interpreter, err = probe(candidate, directory)
      if interpreter then
        return interpreter
      elseif errors.is(err, "task.cancelled") or errors.is(err, "task.deadline") then
        return nil, err
      end
      last_error = err
    end
  end
  return nil, errors.new("environment.interpreter", ("no Python %s: looked for %s in PATH%s"):format(
    major_minor, table.concat(names, " and "), last_error and "; " .. last_error.message or ""))
end

local function check_requirements(requirements)
  for _, requirement in ipairs(requirements) do
    if requirement:sub(1, 1) == "-" or requirement:find("%c") or requirement == "" then
      return nil, errors.new("environment.interpreter",
        ("the requirement %q is an option or no requirement at all; only packages can be required"):format(requirement))
    end
  end
  return true
end

-- uv does the same as venv and pip, about ten times faster.
local function build_steps(interpreter, folder, requirements)
  local python, uv = folder .. "/bin/python", command.find("uv")
  local make, install
  if uv then
    make = { uv, "venv", "--quiet", "--python", interpreter.path, folder }
    install = { uv, "pip", "install", "--quiet", "--python", python, "--" }
  else
    make = { interpreter.path, "-m", "venv", folder }
    install = { python, "-m", "pip", "install", "--quiet", "--" }
  end
  for _, requirement in ipairs(requirements) do
    install[#install + 1] = requirement
  end
  return { make, install }
end

local function build(environments, name, interpreter, requirements)
  local removed, err = environments:remove_tree(name)
  if not removed then
    return nil, err
  end
  local folder, log = environments:path() .. "/" .. name, name .. "." .. LOG
  environments:unlink(log)
  for _, argv in ipairs(build_steps(interpreter, folder, requirements)) do
    local output
    output, err = command.run({
      path = argv[1], argv = argv, env = build_variables(), dir = environments, log = log,
    })
    if not output then
      return nil, err
    end
  end
  return environments:create(name .. "/" .. COMPLETE, interpreter.version .. "\n", "0644")
end

local function lock_patiently(environments, name)
  while true do
    local lock, err = environments:lock(name .. ".lock")
    if lock or err.code ~= "file.locked" then
      return lock, err
    end
    local slept
    slept, err = host.time.sleep(LOCK_RETRY)
    if not slept then
      return nil, err
    end
  end
end

--- The environment for these requirements, built if it is not there yet. Waits.
---@param environments table open folder <working-dir>/environments
---@param interpreter {path: string, version: string}
---@param requirements string[]
---@return string|nil folder absolute path of the virtual environment
---@return table|nil err environment.build, environment.interpreter or file.*
---@return string|nil log what the build printed, when it failed
function python_env.ensure(environments, interpreter, requirements)
  local valid, err = check_requirements(requirements)
  if not valid then
    return nil, err
  end
  local name = host.digest.sha256(table.concat({ interpreter.path, interpreter.version,
    table.concat(requirements, "\n") }, "\n")):sub(1, 24)
  local folder = environments:path() .. "/" .. name
  if environments:stat(name .. "/" .. COMPLETE) then
    return folder
  end
  local lock
  lock, err = lock_patiently(environments, name)
  if not lock then
    return nil, err
  end
  local built = environments:stat(name .. "/" .. COMPLETE) ~= nil
  if not built then
    built, err = build(environments, name, interpreter, requirements)
  end
  lock:release()
  if not built then
    local entry = environments:stat(name .. "." .. LOG)
    local log = entry and environments:read_at(name .. "." .. LOG, math.max(0, entry.size - 16384), 16384)
    return nil, err, log
  end
  return folder
end

return python_env
