-- The document of a job, kept true: the client's `status` and times, and our member `moonrunner`, which says who runs
-- which attempt (design, section 6).
--
-- Every change reads, edits the text, and writes under the condition that nobody wrote meanwhile.
local document = require "studioml.document"
local errors = require "errors"
local json = require "json"

local lease = {}

local Lease = {}
Lease.__index = Lease

local TRIES = 8
local LOOK = 10000    -- ms between two looks for `stopped`
local REFRESH = 30000 -- ms between two signs of life

-- Times in documents are seconds since 1970, as the client writes them.
local function seconds(ms)
  return ("%.3f"):format(ms / 1000)
end

--- The lease of one attempt.
---@param store table the interface `store`
---@param key string the experiment's key
---@param attempt {attempt: integer, failures: integer, runner: string, run: string, message: string}
function lease.new(store, key, attempt)
  return setmetatable({ store = store, key = "experiments/" .. key, attempt = attempt, refreshed = 0 }, Lease)
end

-- Our member. How an attempt ended stands beside the design's fields: nothing else in the document tells.
local function member(self, state, ended)
  local attempt = self.attempt
  local fields = {
    attempt = attempt.attempt, failures = attempt.failures, runner = attempt.runner, run = attempt.run,
    message = attempt.message, state = state, alive = math.floor(self.store:now()),
  }
  if ended then
    fields.outcome, fields.sentence = ended.code, ended.sentence
    fields.exit, fields.signal = ended.exit or nil, ended.signal or nil
    fields.set_aside = attempt.set_aside
  end
  return json.encode(fields)
end

-- change(decoded) -> members to set (name -> JSON text), or nil to leave the document alone.
local function edit(self, change)
  local err
  for _ = 1, TRIES do
    local text, version = self.store:read_document(self.key)
    if not text then
      return nil, version
    end
    local decoded
    decoded, err = document.get(text)
    if not decoded then
      return nil, err
    end
    local members = change(decoded)
    if not members then
      return true
    end
    local edited
    edited, err = document.set(text, members)
    if not edited then
      return nil, err
    end
    local written
    written, err = self.store:put_if(self.key, edited, version)
    if written then
      return true
    elseif not errors.is(err, "store.changed") then
      return nil, err
    end
  end
  return nil, err
end

--- Says that the attempt runs. Waits.
---@return "running"|"stopped"|nil state "stopped": the user has stopped it before it started
---@return table|nil err store.not_found: there is no document; the job may run without one
function Lease:begin()
  local state = "running"
  local ok, err = edit(self, function(decoded)
    if decoded.status == "stopped" then
      state = "stopped"
      return nil
    end
    return {
      status = '"running"', time_started = seconds(self.store:now()), moonrunner = member(self, "running"),
    }
  end)
  if not ok then
    return nil, err
  end
  self.refreshed = host.time.monotonic()
  return state
end

-- One look: is the job stopped? Refreshes our sign of life when it is due.
local function look(self)
  local stopped = false
  local due = host.time.monotonic() - self.refreshed >= REFRESH
  local ok, err = edit(self, function(decoded)
    if decoded.status == "stopped" then
      stopped = true
      return nil
    end
    return due and { moonrunner = member(self, "running") } or nil
  end)
  if ok and due then
    self.refreshed = host.time.monotonic()
  end
  return stopped, ok, err
end

--- Looks every 10 s whether the user has stopped the job, and refreshes our sign of life every 30 s, until the task is
--- cancelled. A document that is gone is no stop. Waits.
---@param on_stopped fun()
function Lease:watch(on_stopped)
  while host.time.sleep(LOOK) do
    local stopped, ok, err = look(self)
    if stopped then
      on_stopped()
      return true
    elseif not ok and not errors.is(err, "store.not_found") and not errors.is(err, "task.cancelled") then
      host.log("warning", "document.failed", { error = tostring(err) })
    end
  end
  return true
end

--- Says how the attempt ended. Waits.
---@param state "ended"|"waiting" ended: the message is answered, nothing follows; the client reads `finished`
---@param answer {effect: string, attempt: integer, failures: integer} the fold's; the numbers after this attempt
---@param ended table|nil the outcome
---@return true|nil, table|nil err
function Lease:finish(state, answer, ended)
  self.attempt.attempt, self.attempt.failures = answer.attempt, answer.failures
  self.attempt.set_aside = answer.effect == "set_aside" or nil
  return edit(self, function()
    local now = seconds(self.store:now())
    if state == "ended" then
      return { status = '"finished"', time_finished = now, time_last_checkpoint = now,
        moonrunner = member(self, "ended", ended) }
    end
    return { status = '"waiting"', time_last_checkpoint = now, moonrunner = member(self, "waiting", ended) }
  end)
end

return lease
