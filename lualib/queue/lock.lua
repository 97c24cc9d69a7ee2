-- The client's lock on a queue's folder: the file `lock.lock`, as Python's filelock.SoftFileLock makes it.
--
-- Whoever makes the file holds the lock, and removes it to let go. Ours is a hard link to a record written before: it
-- is never seen empty, and filelock 4 on this host can break it when we are dead. We break a lock whose holder provably
-- died at once, and one that tells nothing (empty, malformed, another host's) after it stood unchanged for a minute.
--
-- Between take() and release() the caller must not wait: then two tasks of one host never compete, and a lock of ours
-- that is found on take() can only be one whose removal failed.
local m = {}

m.FILE = "lock.lock"
m.RECORD = "lock-record"

local RETRY_MS = 50
local STALE_MS = 60 * 1000
local MAX_RECORD = 1024
local READABLE = "0644" -- others can not break what they can not read

local Lock = {}
Lock.__index = Lock

-- As filelock writes it: bytes that are in no plain name escaped, and the pid namespace when it is not the first.
local function host_name(identity)
  local name = identity.hostname:gsub("[^\33-\62\64-\126]", function(byte)
    return ("?%02x"):format(byte:byte())
  end)
  if not identity.initial_pid_namespace then
    name = ("%s?pidns-%x"):format(name, tonumber(identity.pid_namespace))
  end
  return name == "" and "?" or name
end

local function strip_zeros(digits)
  return (digits:gsub("^0+(%x)", "%1"))
end

-- A decimal number of any length in hexadecimal digits, without leading zeros.
local function to_hexadecimal(decimal)
  local limbs = { 0 } -- 16 bits each, the lowest first
  for digit in decimal:gmatch("%d") do
    local carry = tonumber(digit)
    for i = 1, #limbs do
      local value = limbs[i] * 10 + carry
      limbs[i], carry = value % 65536, math.floor(value / 65536)
    end
    if carry > 0 then
      limbs[#limbs + 1] = carry
    end
  end
  local digits = {}
  for i = #limbs, 1, -1 do
    digits[#digits + 1] = ("%04x"):format(limbs[i])
  end
  return strip_zeros(table.concat(digits))
end

--- Splits the token of a lock's third line: filelock 4 puts the boot's id above the 64 bits of the start time.
---@param token string decimal digits
---@return string start hexadecimal digits
---@return string|nil boot hexadecimal digits; nil when the token has none
function m.split_token(token)
  local digits = to_hexadecimal(token)
  if #digits <= 16 then
    return digits
  end
  return strip_zeros(digits:sub(-16)), digits:sub(1, -17)
end

--- Reads a lock's text: `pid\nHOST\n[TOKEN\n]`.
---@param text string
---@return {pid: integer, host: string, token: string|nil}|nil holder nil when malformed
function m.parse(text)
  local pid, host, rest = text:match("^(%d+)\n([^%s]+)\n(.*)$")
  pid = tonumber(pid)
  local token = rest and rest:match("^(%d+)\n$")
  if not pid or pid < 1 or pid > 2 ^ 31 - 1 or (rest ~= "" and not token) or #(token or "") > 80 then
    return nil
  end
  return { pid = pid, host = host, token = token }
end

-- "dead": the holder is provably gone; "alive"; "unknown": this host can not tell.
local function judge_holder(holder, identity)
  if not holder or holder.host ~= host_name(identity) then
    return "unknown"
  end
  local start, alive = host.system.process_start_time(holder.pid)
  if not alive then
    return "dead"
  elseif not start or not holder.token then
    return "alive"
  end
  local recorded, boot = m.split_token(holder.token)
  local other_boot = boot and identity.boot_id and boot ~= strip_zeros(identity.boot_id)
  return (other_boot or recorded ~= to_hexadecimal(start)) and "dead" or "alive"
end

--- Writes the record that every lock of this run is a link to. Once a run.
---@param records table directory handle of the run's folder, on the queues' file system
---@return true|nil ok
---@return table|nil err
function m.write_record(records)
  local identity = host.system.identity()
  local text = ("%d\n%s\n"):format(identity.pid, host_name(identity))
  if identity.start_time then
    text = text .. identity.start_time .. "\n"
  end
  local ok, err = records:create(m.RECORD, text, READABLE)
  if ok then
    ok, err = records:chmod(m.RECORD, READABLE) -- whatever the umask
  end
  return ok, err
end

--- The lock of one queue's folder. Both handles stay the caller's.
---@param options {dir: table, records: table, queue: string, stale_ms: integer|nil}
---@return table|nil lock
---@return table|nil err
function m.new(options)
  local record, err = options.records:stat(m.RECORD)
  if not record then
    return nil, err
  end
  return setmetatable({
    dir = options.dir,
    records = options.records,
    record = record,
    queue = options.queue,
    stale_ms = options.stale_ms or STALE_MS,
    identity = host.system.identity(),
    seen = nil, -- the lock of an unknown holder that stands, and since when
  }, Lock)
end

local function is_ours(self, standing)
  return standing.inode == self.record.inode and standing.device == self.record.device
end

local function same_file(a, b)
  return a.inode == b.inode and a.device == b.device and a.mtime == b.mtime and a.size == b.size
end

-- Puts back a lock that turned out to be another than the one judged. Should a third have been made meanwhile, the one
-- moved is given up: its holder then finds another's lock in its place, which every holder has to reckon with.
local function put_back(self, aside)
  if not self.records:rename_exclusive(aside, self.dir, m.FILE) then
    self.records:unlink(aside)
  end
end

-- Removes the lock that was judged, by way of our own folder, where it can be looked at again. Returns "again".
local function break_lock(self, judged, why)
  local aside = "broken-lock-" .. host.random.hex(16)
  local ok, err = self.dir:rename(m.FILE, self.records, aside)
  if not ok then
    return err.code == "file.not_found" and "again" or nil, err
  end
  local moved = self.records:stat(aside)
  if moved and not same_file(moved, judged) then
    put_back(self, aside)
    return "again"
  end
  self.records:unlink(aside)
  host.log("warning", "lock.broken", { queue = self.queue, reason = why })
  return "again"
end

-- How long the lock has stood as it is, by our own clock.
local function standing_for(self, standing)
  local now = host.time.monotonic()
  if not self.seen or not same_file(self.seen.lock, standing) then
    self.seen = { lock = standing, since = now }
  end
  return now - self.seen.since
end

local function describe(holder)
  return holder and ("process %d on %s"):format(holder.pid, holder.host) or "a process that it does not name"
end

-- Looks at the lock that is in the way: "held" (it is ours), "wait", "again", or nil and an error.
local function look_at(self)
  local standing, err = self.dir:stat(m.FILE)
  if not standing then
    return err.code == "file.not_found" and "again" or nil, err
  elseif is_ours(self, standing) then
    return "held"
  end
  local holder = m.parse(standing.kind == "file" and self.dir:read(m.FILE, MAX_RECORD) or "")
  local verdict = judge_holder(holder, self.identity)
  if verdict == "dead" then
    return break_lock(self, standing, ("it was held by %s, which has died"):format(describe(holder)))
  elseif verdict == "unknown" and standing_for(self, standing) >= self.stale_ms then
    return break_lock(self, standing, ("it was held by %s, unchanged for %d s"):format(describe(holder),
      math.floor(self.stale_ms / 1000)))
  end
  return "wait"
end

local function try(self)
  -- Each holding looks new to those who watch the lock for a change.
  local ok, err = self.records:touch(m.RECORD, host.time.wall())
  if ok then
    ok, err = self.records:link(m.RECORD, self.dir, m.FILE)
  end
  if ok then
    return "held"
  elseif err.code == "file.exists" then
    return look_at(self)
  end
  return nil, err
end

--- Takes the lock. Waits, as long as it takes; end it with a deadline.
---@return true|nil held
---@return table|nil err file.not_found when the folder was removed
function Lock:take()
  local going, err = host.task.check()
  while going do
    local outcome
    outcome, err = try(self)
    if outcome == "held" then
      self.seen = nil
      return true
    elseif not outcome then
      return nil, err
    elseif outcome == "wait" then
      going, err = host.time.sleep(RETRY_MS)
    else
      going, err = host.task.check()
    end
  end
  return nil, err
end

-- Returns true when the lock is not there, or is another's by now.
local function try_release(self)
  local standing, err = self.dir:stat(m.FILE)
  if standing and not is_ours(self, standing) then
    return true
  elseif standing then
    local ok
    ok, err = self.dir:unlink(m.FILE)
    if ok then
      return true
    end
  end
  return err.code == "file.not_found" or nil, err
end

--- Lets go. A lock that somebody broke and took is left alone. One whose removal fails twice is logged, and is ours
--- again at the next take().
function Lock:release()
  local ok, err = try_release(self)
  if not ok then
    ok, err = try_release(self)
  end
  if not ok then
    host.log("error", "queue.failed", { queue = self.queue, reason = "its lock was not removed: " .. err.message })
  end
end

return m
