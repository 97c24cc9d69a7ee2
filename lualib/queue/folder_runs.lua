-- The runs of a folder queue: `<queue.folder>/.moonrunner/runs/<run>/{lock, lock-record, claims/<queue>/<name>}`.
--
-- A run is one life of one host. Its folder is made under another name, flocked, and then renamed in, so a free lock
-- always means that the run is dead. Whoever finds a dead run holds its lock while it returns the claims.
local errors = require "errors"
local folder_name = require "queue.folder_name"
local lock = require "queue.lock"
local set_aside = require "queue.folder_set_aside"

local m = {}

local PRIVATE, PRIVATE_FILE = "0700", "0600" -- messages hold secrets
local LIFE = ".life" -- which folder the claims beside it came from; no message's name begins with a dot
local HALF_MADE_MS = 60 * 1000 -- so old and not locked: its host died while it made it
local LOCK_WAIT_MS = 5 * 1000 -- for a queue's lock, while the claims of a dead run are returned

local function open_made(parent, name)
  local ok, err = parent:mkdir(name, PRIVATE)
  if not ok and err.code ~= "file.exists" then
    return nil, err
  end
  return parent:open(name)
end

-- Fills `runs` step by step; what is there after a failure is for abandon().
local function make(runs)
  local ok, err
  runs.ours, err = open_made(runs.root, ".moonrunner")
  if not runs.ours then
    return nil, err
  end
  runs.all, err = open_made(runs.ours, "runs")
  if not runs.all then
    return nil, err
  end
  runs.making = "making-" .. runs.run .. "-" .. host.random.hex(8)
  runs.dir, err = open_made(runs.ours, runs.making)
  if not runs.dir then
    return nil, err
  end
  runs.lock, err = runs.dir:lock("lock")
  if not runs.lock then
    return nil, err
  end
  ok, err = lock.write_record(runs.dir)
  if not ok then
    return nil, err
  end
  runs.claims, err = open_made(runs.dir, "claims")
  if not runs.claims then
    return nil, err
  end
  ok, err = runs.ours:rename_exclusive(runs.making, runs.all, runs.run)
  if ok then
    runs.making = nil
  end
  return ok, err
end

local function release(runs)
  for _, name in ipairs({ "claims", "dir", "all", "ours" }) do
    if runs[name] then
      runs[name]:close()
    end
  end
  if runs.lock then
    runs.lock:release()
  end
end

--- Makes and locks the folder of this run. Waits only after a failure.
---@param root table directory handle of <queue.folder>; stays the caller's
---@param run string
---@return table|nil runs
---@return table|nil err file.exists: there is a run of this name
function m.open(root, run)
  local runs = { root = root, run = run }
  local ok, err = make(runs)
  if ok then
    return runs
  end
  if runs.making then
    runs.ours:remove_tree(runs.making)
  end
  release(runs)
  return nil, err
end

--- Gives up the run. Its folder goes when no claim is left in it; otherwise it stays for the next host to return them.
--- Waits.
---@param runs table
---@return boolean empty
function m.close(runs)
  local empty = true
  for _, queue in ipairs(runs.claims:list() or {}) do
    local dir = runs.claims:open(queue.name)
    for _, entry in ipairs(dir and dir:list() or {}) do
      empty = empty and (entry.name == LIFE or queue.name:sub(1, 1) == ".")
    end
    if dir then
      dir:close()
    end
  end
  if empty then
    runs.all:remove_tree(runs.run)
  end
  release(runs)
  return empty
end

-- Tells one life of a queue's folder from the next. The number alone does not: a removed folder's is used again.
local function life_of(dir)
  local stat, err = dir:stat()
  return stat and stat.inode, err
end

--- Opens the folder for the claims on a queue. Claims on an earlier folder of this name are moved out of the way.
---@param runs table
---@param name string the queue's name
---@param queue_dir table directory handle of the queue's folder
---@return table|nil claims a directory handle, the caller's
---@return table|nil err
function m.claims_on(runs, name, queue_dir)
  local life, err = life_of(queue_dir)
  if not life then
    return nil, err
  end
  local dir
  dir, err = open_made(runs.claims, name)
  local recorded = dir and dir:read(LIFE, 100)
  if dir and recorded and recorded ~= life then
    dir:close()
    local ok
    ok, err = runs.claims:rename(name, runs.claims, ".gone-" .. host.random.hex(8))
    dir = nil
    if ok then
      dir, err = open_made(runs.claims, name)
    end
  end
  if dir and recorded ~= life then
    local ok
    ok, err = dir:create(LIFE, life, PRIVATE_FILE)
    if not ok then
      dir:close()
      dir = nil
    end
  end
  return dir, err
end

--- How many other runs are alive.
---@param runs table
---@return integer|nil
---@return table|nil err
function m.count_others(runs)
  local entries, err = runs.all:list()
  if not entries then
    return nil, err
  end
  local count = 0
  for _, entry in ipairs(entries) do
    local dir = entry.name ~= runs.run and entry.kind == "directory" and runs.all:open(entry.name)
    if dir then
      local free, why = dir:lock("lock")
      if free then
        free:release()
      elseif why.code == "file.locked" then
        count = count + 1
      end
      dir:close()
    end
  end
  return count
end

local function messages_in(dir)
  local entries, err = dir:list()
  if not entries then
    return nil, err
  end
  local messages = {}
  for _, entry in ipairs(entries) do
    if folder_name.is_message(entry) then
      messages[#messages + 1] = entry.name
    end
  end
  return messages
end

-- A message whose queue is gone belongs to nobody: it is kept where an operator sees it.
local function set_all_aside(runs, queue, claims, messages)
  for _, name in ipairs(messages) do
    local message = folder_name.parse(name)
    local ok, err = set_aside.move(runs.ours, queue, claims, name, {
      base = message.base,
      attempt = message.attempt,
      failures = message.failures,
      reason = "its queue was removed while a host that died held it",
    })
    if not ok and err.code ~= "file.not_found" then
      return nil, err
    end
    host.log("warning", "delivery.set_aside", { queue = queue, delivery = message.base, reason = "queue removed" })
  end
  return true
end

-- Each claim goes back to its old place (its time is untouched) with one failure more.
local function return_all(queue_dir, queue, claims, messages)
  for _, name in ipairs(messages) do
    local message = folder_name.parse(name)
    local returned, err = folder_name.move_to_free(message.base, function(base)
      return folder_name.in_queue(base, message.attempt, message.failures + 1)
    end, function(to)
      return claims:rename_exclusive(name, queue_dir, to)
    end)
    if returned then
      host.log("warning", "delivery.returned", { queue = queue, delivery = message.base, reason = "its host died" })
    elseif err.code ~= "file.not_found" then
      return nil, err
    end
  end
  return true
end

local function return_under_lock(runs, queue, queue_dir, claims, messages)
  local guard, err = lock.new({ dir = queue_dir, records = runs.dir, queue = queue, stale_ms = runs.stale_lock_ms })
  if not guard then
    return nil, err
  end
  local held
  held, err = host.task.deadline(LOCK_WAIT_MS, function()
    return guard:take()
  end)
  if not held then
    return nil, err
  end
  local ok
  ok, err = return_all(queue_dir, queue, claims, messages)
  guard:release()
  return ok, err
end

-- Empties the claims of a dead run on one queue.
local function return_claims(runs, queue, claims)
  local messages, err = messages_in(claims)
  if not messages or #messages == 0 then
    return messages and true, err
  end
  local queue_dir, why = runs.root:open(queue)
  if not queue_dir and why.code ~= "file.not_found" and why.code ~= "file.not_directory" then
    return nil, why
  end
  local same = queue_dir and life_of(queue_dir) == claims:read(LIFE, 100)
  local ok
  if same then
    ok, err = return_under_lock(runs, queue, queue_dir, claims, messages)
  else
    ok, err = set_all_aside(runs, queue, claims, messages)
  end
  if queue_dir then
    queue_dir:close()
  end
  return ok, err
end

local function empty_run(runs, dir)
  local claims, err = dir:open("claims")
  if not claims then
    return err.code == "file.not_found" or nil, err
  end
  local queues
  queues, err = claims:list()
  local ok = queues and true
  for _, queue in ipairs(queues or {}) do
    -- `.gone…`: claims on a queue that was removed while the run lived. Nothing is owed for them.
    local on_queue = queue.kind == "directory" and queue.name:sub(1, 1) ~= "." and claims:open(queue.name)
    if on_queue then
      local done, why = return_claims(runs, queue.name, on_queue)
      on_queue:close()
      if not done then
        ok, err = nil, why
      end
    end
  end
  claims:close()
  return ok, err
end

-- Returns true when the run is gone, false when it is alive.
local function clean_run(runs, parent, name)
  local dir, err = parent:open(name)
  if not dir then
    return err.code == "file.not_found" or nil, err
  end
  local held
  held, err = dir:lock("lock")
  if not held then
    dir:close()
    if err.code == "file.locked" then
      return false
    end
    return nil, err
  end
  local ok
  ok, err = empty_run(runs, dir)
  if ok then
    ok, err = parent:remove_tree(name)
  end
  dir:close()
  held:release()
  return ok, err
end

local function is_left_half_made(entry)
  return entry.name:sub(1, 7) == "making-" and host.time.wall() - entry.mtime > HALF_MADE_MS
end

--- Returns the claims of runs that died, one failure more each, and removes their folders. Waits. A run that can not be
--- emptied stays for the next time.
---@param runs table
---@return true|nil ok
---@return table|nil err the last thing that went wrong
function m.return_dead(runs)
  local entries, err = runs.all:list()
  local half_made
  if entries then
    half_made, err = runs.ours:list()
  end
  if not half_made then
    return nil, err
  end
  local failure
  for _, entry in ipairs(entries) do
    if entry.name ~= runs.run and entry.kind == "directory" then
      local ok, why = clean_run(runs, runs.all, entry.name)
      failure = ok == nil and errors.wrap(why, "run " .. entry.name) or failure
    end
  end
  for _, entry in ipairs(half_made) do
    if is_left_half_made(entry) then
      local ok, why = clean_run(runs, runs.ours, entry.name)
      failure = ok == nil and why or failure
    end
  end
  return not failure or nil, failure
end

return m
