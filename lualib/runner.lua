-- The driver of a live host: events to the decision core, its effects to queues, bookings and jobs.
--
-- One task decides: it takes events from one channel in order, steps the fold, and carries out the effects without
-- waiting. Whatever waits (serving queues, a job, an answer) is a task of its own, and reports by an event.
local errors = require "errors"
local handle = require "job_task"
local intake = require "intake"
local outcome = require "outcome"
local settle = require "settle"

local runner = {}

local Runner = {}
Runner.__index = Runner

local LONGEST_WAIT = 30000 -- ms: decisions happen at least that often while something waits (design, section 5)

--- A runner over an open decision core and an open queue backend.
---@param parts {options: table, scheduler: table, backend: table, scripts: table, jobs: table, environments: table,
--- trace: fun(lines: string[]), run: string}
function runner.new(parts)
  local self = setmetatable({
    parts = parts, options = parts.options, events = host.task.channel(), jobs = {}, deliveries = {}, held = 0,
    tasks = {}, last_activity = host.time.monotonic(), draining = false,
  }, Runner)
  self.context = {
    options = parts.options, jobs = parts.jobs, environments = parts.environments, run = parts.run,
    scripts = parts.scripts, name = host.system.identity().hostname,
    on_program_ended = function(job) self:program_ended(job) end,
  }
  self.intake = intake.new(parts.backend, {
    received = function(delivery) self:received(delivery) end,
    event = function(event) self:post(event) end,
  })
  return self
end

--- Hands an event to the deciding task. Any task.
function Runner:post(event)
  self.events:send(event)
end

-- A task that belongs to this runner; it is joined before the runner ends. Where none can be started, nothing that was
-- decided can be carried out any more: the host ends.
function Runner:start(f, ...)
  local task, err = host.task.start(f, ...)
  if not task then
    self:post({ failure = err })
  end
  self.tasks[#self.tasks + 1] = task
  return task
end

-- ---- From deliveries to jobs ------------------------------------------------------------------------------------

local function job_event(job, delivery, environment_ready)
  local message = job.message
  return {
    id = job.id, key = job.key, queue = job.queue, project = job.project, owner = job.owner,
    needs = job.needs, max_duration = message.max_duration, added = job.added,
    attempt = job.attempt, failures = job.failures, redelivered = delivery.redelivered,
    environment_ready = environment_ready,
  }
end

--- Takes a delivery: refused at once, or a job for the fold.
function Runner:received(delivery)
  local job, err = handle.understand(delivery, self.context)
  self.held = self.held + 1
  self.last_activity = host.time.monotonic()
  if not job then
    self:start(function()
      settle.refuse(delivery, err, self.options["job.attempts"])
      self.held = self.held - 1
      self.intake:answered(delivery.queue)
    end)
    return
  end
  self.jobs[job.id], self.deliveries[job.id] = job, delivery
  host.log("info", "delivery.received", { key = job.key, queue = job.queue, attempt = job.attempt })
  self:post({
    event = "received", job = job_event(job, delivery, #job.message.requirements == 0), outcome = handle.expired(job),
  })
end

-- ---- Effects ----------------------------------------------------------------------------------------------------

local effects = {}

function effects.credit(self, effect)
  self.intake:set_credit(effect.queue, effect.n)
end

function effects.wake(self, effect)
  self.wake_at = effect.at
end

function effects.start(self, effect)
  local job, placement = self.jobs[effect.job], effect.placement
  local gpus = {}
  for index, uuid in ipairs(placement.gpus) do
    gpus[index] = { uuid = uuid, mem = placement.gpu_mem }
  end
  local booking, err = host.account.book(job.id,
    { cores = placement.cores, mem = placement.mem, disk = placement.disk, gpus = gpus })
  if not booking then
    host.log("warning", "job.not_booked", { key = job.key, error = tostring(err) })
    return self:post({ event = "not_booked", job = job.id })
  end
  job.booking, job.placement = booking, placement
  self:post({ event = "started", job = job.id })
  self:start(function()
    handle.run(job)
    host.account.release(booking, "compute")
    self:post({ event = "ended", job = job.id, outcome = job.outcome })
  end)
end

local function answer(self, effect)
  local job = self.jobs[effect.job]
  self.intake:answered(job.queue)
  job.answering = self:start(function()
    host.task.set_fields({ key = job.key, queue = job.queue })
    local how, err = settle.answer(job, self.deliveries[job.id], effect)
    if job.booking then
      host.account.release(job.booking, "all")
    end
    if not how then
      host.log("error", "queue.failed", { error = tostring(err) })
    end
    self.jobs[job.id], self.deliveries[job.id] = nil, nil
    self.held = self.held - 1
    self:post({ event = "settled", job = job.id, how = how or "lost" })
  end)
end

effects.done, effects.again, effects.set_aside, effects.hand_back = answer, answer, answer, answer

--- The program of a job and all its processes are gone: what it computed with is free while its results are saved.
function Runner:program_ended(job)
  if job.booking then
    host.account.release(job.booking, "compute")
    self:post({ event = "progress", job = job.id, step = "saving", released = "compute" })
  end
end

-- ---- Deciding ---------------------------------------------------------------------------------------------------

local function step(self, event)
  event.now = host.time.wall()
  local decided, notes = self.parts.scheduler:step(event)
  self.parts.trace(self.parts.scheduler:lines())
  if not decided then
    return nil, notes
  end
  for _, note in ipairs(notes or {}) do
    host.log("warning", "policy.failed", { policy = note.policy, error = note.error, job = note.job or nil })
  end
  for _, effect in ipairs(decided) do
    effects[effect.effect](self, effect)
  end
  return true
end

-- Forgets the tasks that have ended, so that a long life costs no memory.
local function forget_ended_tasks(self)
  local living = {}
  for _, task in ipairs(self.tasks) do
    if not task:done() then
      living[#living + 1] = task
    end
  end
  self.tasks = living
end

-- How long the deciding task may wait for the next event, in ms.
local function patience(self)
  local now, longest = host.time.wall(), LONGEST_WAIT
  if self.wake_at then
    longest = math.min(longest, math.max(0, self.wake_at - now))
  end
  local idle = self.options["limit.idle-duration"]
  if idle > 0 and self.held == 0 then
    longest = math.min(longest, math.max(0, self.last_activity + idle - host.time.monotonic()))
  end
  return longest
end

local function is_over(self)
  if self.held > 0 then
    return false
  end
  local idle = self.options["limit.idle-duration"]
  return self.draining or (idle > 0 and host.time.monotonic() - self.last_activity >= idle)
end

local function next_event(self)
  local event, err = self.events:receive(patience(self))
  if event and event.failure then
    return nil, event.failure
  elseif event then
    if event.event ~= "queue_seen" then
      self.last_activity = host.time.monotonic()
    end
    return event
  elseif errors.is(err, "task.deadline") then
    if self.wake_at and self.wake_at <= host.time.wall() then
      self.wake_at = nil
    end
    return { event = "tick" }
  end
  return nil, err
end

local function decide(self)
  repeat
    local event, err = next_event(self)
    if not event then
      return nil, err
    end
    local decided
    decided, err = step(self, event)
    if not decided then
      return nil, err
    end
    forget_ended_tasks(self)
  until is_over(self)
  return true
end

-- ---- The life of a host -----------------------------------------------------------------------------------------

-- What waits for its next attempt is returned now.
local function cut_delays(self)
  for _, job in pairs(self.jobs) do
    if job.answering then
      job.answering:cancel()
    end
  end
end

--- Takes nothing new; waiting deliveries go back; running jobs finish. Idempotent.
function Runner:drain()
  if not self.draining then
    self.draining = true
    self:post({ event = "drain" })
    cut_delays(self)
  end
end

--- Ends the running jobs: TERM, grace, results saved, handed back.
function Runner:interrupt()
  for _, job in pairs(self.jobs) do
    handle.interrupt(job)
  end
end

--- Ends what the jobs still run, now.
function Runner:kill()
  for _, job in pairs(self.jobs) do
    job:kill()
  end
end

-- Without a decision core nobody decides: what runs is ended, what has a result is over, and the rest goes back to its
-- queue.
function Runner:give_up()
  self:interrupt()
  cut_delays(self)
  for _, task in ipairs(self.tasks) do
    task:join()
  end
  for _, job in pairs(self.jobs) do
    local started = job.booking and 0 or 1
    local over = job.outcome and job.outcome.code ~= "interrupted" and outcome.ran(job.outcome.code)
    answer(self, { effect = over and "done" or "hand_back", job = job.id, attempt = job.attempt - started,
      failures = job.failures, code = over and job.outcome.code or "drained",
      reason = over and job.outcome.sentence or "the decision core of this host failed" })
  end
end

-- The intake's task. That it ends by itself is the end of the host, which would wait for ever otherwise.
local function serve(self)
  local served, err = self.intake:serve()
  if not served then
    self.events:send({ failure = err })
  end
end

--- Serves until it is drained, idle for `limit.idle-duration`, or its decision core fails. Waits.
---@return true|nil, table|nil err
function Runner:run()
  local capacity = host.account.read()
  self:post({
    event = "capacity", name = self.context.name,
    total = { cores = capacity.total.cores, mem = capacity.total.mem, disk = capacity.total.disk, gpus = {} },
    attempts = self.options["job.attempts"],
  })
  local serving, err = host.task.start(serve, self)
  if not serving then
    return nil, err
  end
  local ok
  ok, err = decide(self)
  serving:cancel()
  serving:join()
  if not ok then
    self:give_up()
  end
  for _, task in ipairs(self.tasks) do
    task:join()
  end
  return ok, err
end

return runner
