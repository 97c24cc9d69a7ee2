-- `moonrunner run`: serves the queues until it is told to stop.
local folder_queue = require "queue.folder"
local run_folder = require "run_folder"
local runner = require "runner"

local run = {}

run.summary = "serve the queues: take experiments, run them, bring their results back"

local FAILED = 70

local function fail(err)
  host.log("error", "host.failed", { error = tostring(err) })
  return FAILED
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
  parts.scheduler, err = host.scheduler.open({
    lualib = host.home .. "/lualib", policies = host.home .. "/policies", shipped = host.home .. "/policies",
  })
  if not parts.scheduler then
    return nil, err
  end
  parts.scripts, err = host.bundle.open(host.home .. "/scripts")
  if not parts.scripts then
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
  local folders, err = run_folder.make(options["working-dir"])
  if not folders then
    return fail(err)
  end
  run_folder.clean(folders.working)
  local parts
  parts, err = open_parts(options, folders)
  if not parts then
    run_folder.remove(folders)
    return fail(err)
  end
  announce(parts)
  local host_runner = runner.new(parts)
  local signals = host.task.start(obey_signals, host_runner, exit)
  local ok
  ok, err = host_runner:run()
  signals:cancel()
  signals:join()
  parts.backend:close()
  parts.scheduler:close()
  run_folder.remove(parts.folders)
  if not ok then
    return fail(err)
  end
  host.log("info", "host.stopped", { run = parts.run, exit = exit.code })
  return exit.code
end

return run
