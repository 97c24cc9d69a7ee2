-- The folder of one life of one host: <working-dir>/runs/<run>/{lock, jobs/}.
--
-- It is made under a temporary name, locked, then renamed to its own: a folder whose lock is free belonged to a run
-- that is dead. What such a run left is ended and removed before new work is taken.
local errors = require "errors"

local run_folder = {}

local PRIVATE = "0700"
local END_LIMIT = 10000 -- ms to end the processes of one dead run
local RUN = "^" .. ("%x"):rep(8) .. "$"
local LEFT = 10 * 60 * 1000 -- ms: a folder under a temporary name that is older was left by a host that died early

-- Ends and removes one run's leftovers if it is dead.
local function clean(runs, name)
  local folder = runs:open(name)
  local lock = folder and folder:lock("lock")
  if folder then
    folder:close()
  end
  if not lock then
    return
  end
  local ended, err = host.process.end_run(name, END_LIMIT)
  local removed
  if ended then
    removed, err = runs:remove_tree(name)
  end
  lock:release()
  if removed then
    host.log("warning", "run.cleaned", { run = name, processes = ended })
  else
    host.log("warning", "cleanup.failed", { run = name, error = tostring(err) })
  end
end

--- Ends and removes what dead runs left below the working folder. Waits.
---@param working table open folder
function run_folder.clean(working)
  local runs = working:open("runs")
  for _, entry in ipairs(runs and runs:list() or {}) do
    if entry.kind == "directory" and entry.name:find(RUN) then
      clean(runs, entry.name)
    elseif host.time.wall() - entry.mtime > LEFT then
      runs:remove_tree(entry.name) -- it never was a run: nothing was started in it
    end
  end
end

-- Makes, locks and names the folder of `parts.run`, and opens what is in it.
local function fill(parts)
  local working, run = parts.working, parts.run
  local temporary, made, err = "runs/." .. run
  for _, name in ipairs({ temporary .. "/jobs", "environments", "traces" }) do
    made, err = working:make_path(name, PRIVATE)
    if not made then
      return nil, err
    end
  end
  parts.lock, err = working:lock(temporary .. "/lock")
  if parts.lock then
    made, err = working:rename_exclusive(temporary, working, "runs/" .. run)
  end
  if not (parts.lock and made) then
    return nil, err
  end
  for part, name in pairs({ jobs = "runs/" .. run .. "/jobs", environments = "environments", traces = "traces" }) do
    parts[part], err = working:open(name)
    if not parts[part] then
      return nil, err
    end
  end
  return true
end

--- Makes the working folder and the folder of this run. Waits only after a failure, which leaves no run behind.
---@param path string working-dir, absolute
---@return {working: table, jobs: table, environments: table, traces: table, run: string, lock: table}|nil parts
---@return table|nil err
function run_folder.make(path)
  local made, err = host.file.root:make_path(path, PRIVATE)
  local working
  if made then
    working, err = host.file.root:open(path)
  end
  if not working then
    return nil, errors.wrap(err, "working-dir")
  end
  local parts = { working = working, run = host.random.hex(8) }
  made, err = fill(parts)
  if not made then
    working:remove_tree("runs/." .. parts.run)
    working:remove_tree("runs/" .. parts.run)
    if parts.lock then
      parts.lock:release()
    end
    return nil, errors.wrap(err, "working-dir")
  end
  return parts
end

--- Removes the folder of a run that has ended. Waits.
function run_folder.remove(parts)
  local removed, err = parts.working:remove_tree("runs/" .. parts.run)
  if not removed then
    host.log("warning", "cleanup.failed", { run = parts.run, error = tostring(err) })
  end
  parts.lock:release()
end

return run_folder
