-- `moonrunner run`: serves the queues until it is told to stop.
local errors = require "errors"
local folder_queue = require "queue.folder"
local run_folder = require "run_folder"
local runner = require "runner"

local run = {}

run.summary = "serve the queues: take experiments, run them, bring their results back"

local CONFIGURATION, FAILED = 64, 70

local function fail(err, exit_code)
  host.log("error", "host.failed", { error = tostring(err) })
  return exit_code
end

-- An operator's own folder of Lua files, else the shipped one. A name that leads nowhere must not mean "as shipped".
local function folder_of(option, shipped)
  local folder = host.options[option]
  if not folder then
    return shipped
  end
  local opened, err = host.file.root:open(folder .. "/.")
  if not opened then
    return nil, errors.wrap(err, option)
  end
  opened:close()
  return folder
end

-- The decision core with its policies, and the scripts.
local function open_lua(parts)
  local policies, scripts = host.home .. "/policies", host.home .. "/scripts"
  local folder, err = folder_of("policies.folder", policies)
  if not folder then
    return nil, err
  end
  parts.scheduler, err = host.scheduler.open({
    lualib = host.home .. "/lualib", policies = folder, shipped = policies,
  })
  if not parts.scheduler then
    return nil, err
  end
  folder, err = folder_of("scripts.folder", scripts)
  if folder then
    parts.scripts, err = host.bundle.open(folder, scripts)
  end
  return parts.scripts and true, err
end

-- First signal: drain. Second: end what runs. Third: now. Returns the exit code that the third one asks for.
local function obey_signals(host_runner, exit)
  for count = 1, math.huge do
    local signal = host.signal.receive()
    if not signal then
      return true
    end
    host.log("warning", "signal.received", {
      signal = signal, consequence = ({ "drain", "interrupt" })[count] or "kill",
    })
    host_runner:drain()
    if count == 2 then
      host_runner:interrupt()
    elseif count > 2 then
      exit.code = 128 + (signal == "TERM" and 15 or 2)
      host_runner:kill()
    end
  end
end

local function open_parts(options, folders)
  local parts = {
    options = options, run = folders.run, jobs = folders.jobs, environments = folders.environments, folders = folders,
  }
  local err
  local opened
  opened, err = open_lua(parts)
  if not opened then
    return nil, err
  end
  parts.backend, err = folder_queue.open({
    root = options["queue.folder"], run = folders.run, max_message_size = options["message.max-size"],
  })
  if not parts.backend then
    return nil, err
  end
  parts.trace = function(lines)
    folders.traces:append(folders.run .. ".jsonl", table.concat(lines, "\n") .. "\n", "0600")
  end
  return parts
end

local function announce(parts)
  local capacity = host.account.capacity()
  host.log("info", "capacity.detected", {
    cores = capacity.cores, mem = capacity.mem, disk = capacity.disk, why = capacity.why,
  })
  host.log("info", "host.started", {
    run = parts.run, queues = parts.options["queue.folder"], working_dir = parts.options["working-dir"],
  })
end

--- Runs the host. Waits until it ends.
---@return integer exit code
function run.main()
  local options, exit = host.options, { code = 0 }
  host.signal.catch() -- from now on a signal that comes early is obeyed as soon as there is something to drain
  if not options["queue.folder"] then
    return fail(errors.new("option.invalid", "queue.folder is off: there is nothing to serve"), CONFIGURATION)
  end
  local folders, err = run_folder.make(options["working-dir"])
  if not folders then
    return fail(err, CONFIGURATION)
  end
  run_folder.clean(folders.working)
  local parts
  parts, err = open_parts(options, folders)
  if not parts then
    run_folder.remove(folders)
    return fail(err, CONFIGURATION)
  end
  announce(parts)
  local host_runner = runner.new(parts)
  local signals, ok
  signals, err = host.task.start(obey_signals, host_runner, exit)
  if signals then
    ok, err = host_runner:run()
    signals:cancel()
    signals:join()
  end
  parts.backend:close()
  parts.scheduler:close()
  run_folder.remove(parts.folders)
  if not ok then
    return fail(err, FAILED)
  end
  host.log("info", "host.stopped", { run = parts.run, exit = exit.code })
  return exit.code
end

return run
