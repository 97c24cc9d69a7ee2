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
local MAX_LIFE = 100 -- bytes
local LIFE = ".life" -- which folder the claims beside it came from; no message's name begins with a dot
local LEFT_MS = 10 * 60 * 1000 -- so old and half made or half removed: its process died
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

-- Removes a run's folder. First it stops being one: whoever comes while its files go must not take it for a dead run.
local function discard(runs, parent, name)
  local discarded = "gone-" .. host.random.hex(16)
  local ok, err = parent:rename(name, runs.ours, discarded)
  if ok then
    ok, err = runs.ours:remove_tree(discarded)
  end
  return ok, err
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

-- Is there a claim left on this queue? What can not be read may hold one.
local function holds_claims(runs, queue)
  if queue:sub(1, 1) == "." then
    return false
  end
  local dir = runs.claims:open(queue)
  local entries = dir and dir:list()
  if dir then
    dir:close()
  end
  if not entries then
    return true
  end
  for _, entry in ipairs(entries) do
    if entry.name ~= LIFE then
      return true
    end
  end
  return false
end

--- Gives up the run. Its folder goes when no claim is left in it; otherwise it stays for the next host to return them.
--- Waits.
---@param runs table
---@return boolean empty
function m.close(runs)
  local queues = runs.claims:list()
  local empty = queues ~= nil
  for _, queue in ipairs(queues or {}) do
    empty = empty and not holds_claims(runs, queue.name)
  end
  if empty then
    discard(runs, runs.all, runs.run)
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
  local recorded = dir and dir:read(LIFE, MAX_LIFE)
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

-- Opens the folder that claims came from, if it is still there: nil and no error when it is not.
local function open_origin(runs, queue, claims)
  local life, err = claims:read(LIFE, MAX_LIFE)
  if not life then
    return nil, err
  end
  local queue_dir
  queue_dir, err = runs.root:open(queue)
  if not queue_dir then
    local removed = err.code == "file.not_found" or err.code == "file.not_directory"
    return nil, not removed and err or nil
  end
  local present
  present, err = life_of(queue_dir)
  if present == life then
    return queue_dir
  end
  queue_dir:close()
  return nil, err
end

-- Empties the claims of a dead run on one queue.
local function return_claims(runs, queue, claims)
  local messages, err = messages_in(claims)
  if not messages or #messages == 0 then
    return messages and true, err
  end
  local origin
  origin, err = open_origin(runs, queue, claims)
  if origin then
    local ok
    ok, err = return_under_lock(runs, queue, origin, claims, messages)
    origin:close()
    return ok, err
  elseif err then
    return nil, err
  end
  return set_all_aside(runs, queue, claims, messages)
end

local function empty_queue(runs, claims, queue)
  local on_queue, err = claims:open(queue)
  if not on_queue then
    return nil, err
  end
  local ok
  ok, err = return_claims(runs, queue, on_queue)
  on_queue:close()
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
    if queue.kind == "directory" and queue.name:sub(1, 1) ~= "." then
      local done, why = empty_queue(runs, claims, queue.name)
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
    ok, err = discard(runs, parent, name)
  end
  dir:close()
  held:release()
  return ok, err
end

local function is_left(entry)
  local kind = entry.name:match("^(%l+)%-")
  return (kind == "making" or kind == "gone" or kind == "submit") and host.time.wall() - entry.mtime > LEFT_MS
end

--- Returns the claims of runs that died, one failure more each, and removes their folders. Waits. A run that can not be
--- emptied stays for the next time.
---@param runs table
---@return true|nil ok
---@return table|nil err the last thing that went wrong
function m.return_dead(runs)
  local entries, err = runs.all:list()
  local others
  if entries then
    others, err = runs.ours:list()
  end
  if not others then
    return nil, err
  end
  local failure
  for _, entry in ipairs(entries) do
    if entry.name ~= runs.run and entry.kind == "directory" then
      local ok, why = clean_run(runs, runs.all, entry.name)
      failure = ok == nil and errors.wrap(why, "run " .. entry.name) or failure
    end
  end
  for _, entry in ipairs(others) do
    if is_left(entry) then
      local ok, why = clean_run(runs, runs.ours, entry.name)
      failure = ok == nil and why or failure
    end
  end
  return not failure or nil, failure
end

return m
