-- Puts a message into a folder queue, as the StudioML client does: a file named by a UUID, made under the queue's lock.
local errors = require "errors"
local folder_name = require "queue.folder_name"
local lock = require "queue.lock"

local m = {}

local LOCK_LIMIT = 60000 -- ms

-- The message is whole before it appears: written beside, then renamed in under the lock.
local function move_in(scratch, queue, name, text)
  local ok, err = scratch:create(name, text, "0600")
  if ok then
    ok, err = lock.write_record(scratch)
  end
  if not ok then
    return nil, err
  end
  local queue_lock
  queue_lock, err = lock.new({ dir = queue, records = scratch, queue = name })
  if not queue_lock then
    return nil, err
  end
  ok, err = host.task.deadline(LOCK_LIMIT, queue_lock.take, queue_lock)
  if not ok then
    return nil, errors.wrap(err, "the queue's lock")
  end
  ok, err = scratch:touch(name, host.time.wall())
  if ok then
    ok, err = scratch:rename_exclusive(name, queue, name)
  end
  queue_lock:release()
  return ok, err
end

--- Submits `text` to the queue `name` below `root`; the queue's folder is made when it is not there. Waits.
---@param root string absolute path of the folder of queues
---@param name string
---@param text string
---@return string|nil message the message's name, a UUID
---@return table|nil err
function m.submit(root, name, text)
  local refusal = folder_name.refusal(name)
  if refusal then
    return nil, errors.new("option.invalid", ("the queue %s: %s"):format(folder_name.printable(name), refusal))
  end
  local message, folder = host.random.uuid(), host.file.root
  local scratch_name = ".moonrunner/submit-" .. host.random.hex(16)
  local made, err = folder:make_path(root .. "/" .. name, "0755")
  if made then
    made, err = folder:make_path(root .. "/" .. scratch_name, "0700")
  end
  local opened
  if made then
    opened, err = folder:open(root .. "/.")
  end
  if not opened then
    return nil, errors.wrap(err, "queue.folder")
  end
  local scratch, queue
  scratch, err = opened:open(scratch_name)
  if scratch then
    queue, err = opened:open(name)
  end
  if queue then
    made, err = move_in(scratch, queue, message, text)
  else
    made, err = nil, errors.wrap(err, "the queue " .. name)
  end
  host.task.shield(LOCK_LIMIT, opened.remove_tree, opened, scratch_name)
  return made and message, err
end

return m
