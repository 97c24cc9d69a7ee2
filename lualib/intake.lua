-- Serves the queues of one backend: finds them, looks at their depth, and claims as many deliveries as the fold allows.
local errors = require "errors"

local intake = {}

local Intake = {}
Intake.__index = Intake

local LOOK_EVERY = 1000  -- ms: the watch is only a hint
local CLAIM_LIMIT = 5000 -- ms: a client that keeps its queue's lock must not keep the other queues waiting
local RETURN_EVERY = 30000 -- ms between two looks for hosts that have died beside us
local SURVEY_EVERY = 200 -- ms between two counts of all queues: each lists every folder, and our claims are hints too

--- An intake over an open backend (lualib/README.md).
---@param backend table
---@param listener {received: fun(delivery: table), event: fun(event: table)}
function intake.new(backend, listener)
  return setmetatable({
    backend = backend, listener = listener, queues = {}, names = {}, credits = {}, held = {},
    looks = host.task.channel(), look_pending = false, surveyed = -math.huge, survey_owed = false,
  }, Intake)
end

--- Asks for a look at all queues soon. Never waits.
function Intake:look()
  if not self.look_pending then
    self.look_pending = true
    self.looks:send(true)
  end
end

--- At most `n` deliveries of that queue are to be held from now on.
function Intake:set_credit(name, n)
  self.credits[name] = n
  self:look()
end

--- One delivery of that queue is answered, or is about to be: there is room for another.
function Intake:answered(name)
  self.held[name] = self.held[name] - 1
  self:look()
end

local function open_new_queues(self)
  local names, err = self.backend:names()
  if not names then
    host.log("warning", "queue.failed", { error = tostring(err) })
    return
  end
  for _, name in ipairs(names) do
    if not self.queues[name] then
      local queue
      queue, err = self.backend:open(name)
      if queue then
        self.queues[name], self.held[name] = { queue = queue }, self.held[name] or 0
        self.names[#self.names + 1] = name
        host.log("info", "queue.opened", { queue = name })
      else
        host.log("warning", "queue.failed", { queue = name, error = tostring(err) })
      end
    end
  end
end

local function forget(self, name)
  self.queues[name].queue:close()
  self.queues[name], self.credits[name] = nil, nil
  for index, known in ipairs(self.names) do
    if known == name then
      table.remove(self.names, index)
      break
    end
  end
  host.log("info", "queue.gone", { queue = name })
  self.listener.event({ event = "queue_gone", queue = name })
end

-- Tells the fold of a queue when a number has changed.
local function report_depth(self, name, served)
  local depth, err = served.queue:depth()
  if not depth then
    return nil, err
  end
  if depth.ready ~= served.ready or depth.others ~= served.others then
    served.ready, served.others = depth.ready, depth.others
    self.listener.event({
      event = "queue_seen", queue = name, backend = served.queue.backend, ready = depth.ready, others = depth.others,
    })
  end
  return true
end

-- Forgets queues that were removed, finds new ones, counts what is ready.
local function survey(self)
  self.surveyed, self.survey_owed = host.time.monotonic(), false
  open_new_queues(self)
  for _, name in ipairs({ unpack(self.names) }) do
    local served = self.queues[name]
    if served.queue:gone() then
      forget(self, name)
    else
      local depth, err = report_depth(self, name, served)
      if not depth then
        host.log("warning", "queue.failed", { queue = name, error = tostring(err) })
      end
    end
  end
end

-- One turn of one queue: at most one claim, so that no queue keeps the others waiting. true: it may have more.
local function serve_queue(self, name)
  if self.held[name] >= (self.credits[name] or 0) then
    return false
  end
  local queue = self.queues[name].queue
  local claimed, err = host.task.deadline(CLAIM_LIMIT, queue.claim, queue)
  if claimed then
    self.held[name] = self.held[name] + 1
    self.listener.received(claimed)
  elseif claimed == nil and errors.is(err, "queue.gone") then
    forget(self, name)
  elseif claimed == nil and not errors.is(err, "task.cancelled") then
    host.log("warning", "queue.failed", { queue = name, error = tostring(err) })
  end
  return claimed ~= nil and claimed ~= false
end

local function serve_all(self)
  if host.time.monotonic() - self.surveyed >= SURVEY_EVERY then
    survey(self)
  else
    self.survey_owed = true
  end
  local claimed
  repeat
    claimed = false
    for _, name in ipairs({ unpack(self.names) }) do
      claimed = self.queues[name] and serve_queue(self, name) or claimed
    end
  until not claimed or not host.task.check()
end

-- After a wait that failed (no memory, no descriptor): goes on a second later. nil: the task is cancelled.
local function go_on(err)
  if errors.is(err, "task.cancelled") then
    return nil
  end
  host.log("warning", "queue.failed", { error = tostring(err) })
  return host.time.sleep(LOOK_EVERY)
end

-- Waits until somebody asks for a look, or a survey that was put off is due. nil: the task is cancelled.
local function wait_for_look(self)
  local patience = self.survey_owed and math.max(0, self.surveyed + SURVEY_EVERY - host.time.monotonic()) or nil
  local asked, err = self.looks:receive(patience)
  if asked then
    self.look_pending = false
  end
  return asked or errors.is(err, "task.deadline") or go_on(err)
end

-- Asks for a look whenever something may have changed.
local function watch(self)
  local changed, err
  repeat
    changed, err = self.backend:wait(LOOK_EVERY)
    if changed == nil then
      changed = go_on(err)
    end
    self:look()
  until changed == nil
  return true
end

-- Brings back what a neighbour held when it died, so that it need not wait for the next host that starts.
local function return_dead_claims(self)
  while host.time.sleep(RETURN_EVERY) do
    local returned, err = self.backend:return_dead()
    if not returned then
      host.log("warning", "queue.failed", { error = tostring(err) })
    end
    self:look()
  end
  return true
end

--- Serves until the task is cancelled; closes the queues then. Waits.
---@return true|nil, table|nil err it could not begin
function Intake:serve()
  for _, part in ipairs({ watch, return_dead_claims }) do
    local started, err = host.task.start(part, self)
    if not started then
      return nil, err
    end
  end
  self:look()
  while wait_for_look(self) do
    serve_all(self)
  end
  for _, name in ipairs(self.names) do
    self.queues[name].queue:close()
  end
  return true
end

return intake
