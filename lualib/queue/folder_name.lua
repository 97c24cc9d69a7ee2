-- Names in a folder queue: which folders are queues, which files are messages, and the numbers that a message carries.
--
-- `<base>` is a message as its sender made it; `<base>.ATTEMPT.FAILURES` one that a runner has held: how many attempts
-- were started, and how many of them count as failures. Pure.
local json = require "json"

local m = {}

local MAX_NUMBER = 999999999
local MAX_BASE = 200 -- bytes; file systems allow 255, and the numbers and a suffix must fit

--- Why a folder of this name is not served; nil when it may be.
---@param name string
---@return string|nil reason a clause: "its name holds a control character"
function m.refusal(name)
  if name == "" or name:sub(1, 1) == "." or name:find("/", 1, true) then
    return "a queue's name is not empty, does not begin with '.' and holds no '/'"
  elseif name:find("[%c\127]") or name:find("\194[\128-\159]") then
    return "its name holds a control character"
  elseif not host.json.check(json.encode(name), 1) then
    return "its name is not UTF-8"
  end
end

--- The name as it may be shown: control characters and bytes that are no ASCII become `?`.
---@param name string
function m.printable(name)
  return (name:gsub("[^\32-\126]", "?"))
end

--- Is this entry of a queue's folder a message? Dot files are somebody's half-written ones; the client's lock has
--- relatives, `lock.lock.break…`.
---@param entry {name: string, kind: string}
function m.is_message(entry)
  return entry.kind == "file" and entry.name:sub(1, 1) ~= "." and entry.name:sub(1, 9) ~= "lock.lock"
end

local function read_number(digits)
  return #digits <= 9 and (digits == "0" or digits:sub(1, 1) ~= "0") and tonumber(digits) or nil
end

--- Splits a message's name. What only looks like numbers (more failures than attempts) belongs to the base.
---@param name string
---@return {base: string, attempt: integer, failures: integer, numbered: boolean}
function m.parse(name)
  local base, attempt, failures = name:match("^(.+)%.(%d+)%.(%d+)$")
  attempt, failures = attempt and read_number(attempt), failures and read_number(failures)
  if attempt and failures and failures <= attempt then
    return { base = base, attempt = attempt, failures = failures, numbered = true }
  end
  return { base = name, attempt = 0, failures = 0, numbered = false }
end

--- The name that carries these numbers.
---@param base string
---@param attempt integer
---@param failures integer
function m.format(base, attempt, failures)
  attempt = math.min(attempt, MAX_NUMBER)
  return ("%s.%d.%d"):format(base, attempt, math.min(failures, attempt))
end

--- The name under which a message stands in its queue: the sender's own while it was never started.
---@param base string
---@param attempt integer
---@param failures integer
function m.in_queue(base, attempt, failures)
  if attempt == 0 and not m.parse(base).numbered then
    return base
  end
  return m.format(base, attempt, failures)
end

--- A base that leaves room for the numbers; a longer one keeps its beginning and gets a digest.
---@param base string
function m.fit(base)
  if #base <= MAX_BASE then
    return base
  end
  return base:sub(1, MAX_BASE - 17) .. "-" .. host.digest.sha256(base):sub(1, 16)
end

--- Moves a file to the first free name: make(base) is tried with `base`, then with a random suffix.
---@param base string
---@param make fun(base: string): string
---@param move fun(name: string): true|nil, table|nil fails with file.exists where the name is taken
---@return string|nil name
---@return table|nil err
function m.move_to_free(base, make, move)
  local name, err = make(base), nil
  for _ = 1, 4 do
    local ok
    ok, err = move(name)
    if ok then
      return name
    elseif err.code ~= "file.exists" then
      return nil, err
    end
    name = make(base .. "-" .. host.random.hex(8))
  end
  return nil, err
end

return m
