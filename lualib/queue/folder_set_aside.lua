-- Messages set aside: `<queue.folder>/.moonrunner/set-aside/<queue>/<name>`, and beside each, in `<name>.reason`, a
-- JSON object that says why. They stay until an operator retries or drops them.
local errors = require "errors"
local folder_name = require "queue.folder_name"
local json = require "json"

local m = {}

m.FOLDER = "set-aside"
m.REASON_SUFFIX = ".reason" -- a message's name ends in its numbers, so none ends like this

local PRIVATE, PRIVATE_FILE = "0700", "0600" -- messages hold secrets

local function open_made(parent, name)
  local ok, err = parent:mkdir(name, PRIVATE)
  if not ok and err.code ~= "file.exists" then
    return nil, err
  end
  return parent:open(name)
end

local function open_folder(ours, queue)
  local top, err = open_made(ours, m.FOLDER)
  if not top then
    return nil, err
  end
  local dir
  dir, err = open_made(top, queue)
  top:close()
  return dir, err
end

-- The reason comes first: alone it means nothing, and the next message of this name replaces it.
local function move_with_reason(from, name, dir, to, reason_text)
  if dir:stat(to) then
    return nil, errors.new("file.exists", to .. " was set aside before")
  end
  local ok, err = dir:replace(to .. m.REASON_SUFFIX, reason_text, PRIVATE_FILE)
  if not ok then
    return nil, err
  end
  ok, err = from:rename_exclusive(name, dir, to)
  if not ok then
    dir:unlink(to .. m.REASON_SUFFIX)
  end
  return ok, err
end

--- Moves a message there. After an error it is where it was.
---@param ours table directory handle of .moonrunner
---@param queue string
---@param from table directory handle
---@param name string the message's file in it
---@param about {base: string, attempt: integer, failures: integer, reason: string, code: string?, added: integer?}
---@return true|nil ok
---@return table|nil err
function m.move(ours, queue, from, name, about)
  local dir, err = open_folder(ours, queue)
  if not dir then
    return nil, err
  end
  local reason_text = json.encode({
    reason = about.reason,
    code = about.code,
    queue = queue,
    attempt = about.attempt,
    failures = about.failures,
    added = about.added,
    time = host.time.wall(),
  })
  local ok
  ok, err = from:chmod(name, PRIVATE_FILE)
  if ok then
    ok, err = folder_name.move_to_free(folder_name.fit(about.base), function(base)
      return folder_name.format(base, about.attempt, about.failures)
    end, function(to)
      return move_with_reason(from, name, dir, to, reason_text)
    end)
  end
  dir:close()
  return ok and true, err
end

return m
