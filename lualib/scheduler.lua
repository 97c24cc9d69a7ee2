--- The decision core: a pure fold `(state, event) -> effects`. It reads no clock, no file and no random number: what
-- it knows is in its state and in the event, so the same events give the same effects, byte for byte, anywhere.
--
-- What follows is the contract with the host's driver. Units: milliseconds since 1970 (`now` and all points in time),
-- milliseconds (durations), bytes, whole cores. Numbers are integers; `false` stands for "not known". A job is named
-- by `job.id`, the integer of its delivery.
--
-- EVENTS: `{event = name, now = ms, …}`. `now` never goes back (a smaller one is taken as the last one).
--
--   capacity    name = text, total = {cores, mem, disk, gpus = {{uuid = text, mem = bytes}…}},
--               attempts = n?, hold_time = ms?
--               What this host has for jobs. The first event of a life (only `snapshot` may stand in for it), and again
--               whenever it changes. attempts: `job.attempts`, 3 when absent; hold_time: `hold.time`, 30 s when absent.
--   queue_seen  queue = name, backend = "folder" | "amqp", ready = n | false, others = n | false
--               A queue that is served, and again whenever a number changes (a look at its depth). Answers `credit`.
--   queue_gone  queue = name
--               It was deleted. Its waiting jobs are answered by `done` (code queue_deleted); the host itself stops the
--               running ones and sends `ended` with the outcome queue_deleted. The name may be seen again: a new life.
--               What is `received` from a queue that is not served is handed back.
--   received    job = {id, key = text, queue = name, project = text | false, owner = text | false,
--                      needs = {cores, mem, disk, gpus = count, gpu_mem = bytes a card; 0: the whole card},
--                      max_duration = ms | false, added = ms, attempt = n, failures = n,
--                      redelivered = boolean, environment_ready = boolean}
--               outcome = …?
--               A delivery that we hold, from `delivery` and its message. attempt: the number of the start to come.
--               outcome (as in `ended`): it is over before it could start (expired), and is answered at once.
--   started     job = id
--               `start` was obeyed: its placement is booked, the attempt counts from now on.
--   not_booked  job = id
--               `start` was refused by the account. The job waits again; it is not tried before something is released.
--   progress    job = id, step = text, released = "compute"?
--               Where a running job is. released: its cores, memory and GPUs are free already (else `ended` says so).
--   ended       job = id, outcome = {code, sentence, retryable = boolean, exit = n | false, signal = n | false,
--                                    duration = ms | false, peak = bytes | false}, as outcome.lua makes it
--               The attempt is over and its cores, memory and GPUs are released. Also for a waiting job that shall not
--               start any more (stopped, expired). Answered by done, again, set_aside or hand_back.
--   settled     job = id, how = "acknowledged" | "again" | "set_aside" | "handed_back" | "lost"
--               That answer has been carried out and the job's folder is gone: its disk is free, its id is forgotten.
--               An id that is not known is no error (`lost` came first).
--   lost        job = id
--               Its delivery is lost: no answer can be given. A waiting or answered job is forgotten at once; a running
--               one goes on to its `ended`, is answered as usual (a no-op for the host) and `settled` as "lost".
--               An id that is not known is no error.
--   tick        The time asked for by `wake` has come (any other tick is harmless).
--   drain       Take nothing new: all credit 0, all waiting jobs handed back; running ones go on.
--   resume      The end of `drain`.
--   snapshot    state = what export() gave: replaces the whole state and decides nothing (a tick after it does).
--
-- EFFECTS: `{effect = name, …}`, in the order in which they are to be carried out.
--
--   credit      queue = name, n = count, priority = n
--               Hold at most n deliveries of that queue; sent when a number changes. What counts as held: `received`,
--               and not yet answered by one of the four below. Fewer than are held: take no more, keep what there is.
--   start       job = id, placement = {cores, mem, disk, gpus = {uuid…}, gpu_mem = bytes a card; 0: whole cards}
--               Book and run. Answered by `started` or `not_booked`.
--   done        job, attempt, failures, code, reason               acknowledge: it is over
--   again       job, attempt, failures, code, reason, delay = ms   to the queue's tail; the host waits the delay
--   set_aside   job, attempt, failures, code, reason               out of the way, with its reason, for a person
--   hand_back   job, attempt, failures, code, reason               to its old place, for anybody
--               The four answers; each is answered by `settled` or `lost`. attempt and failures are what the delivery's
--               answer takes (`delivery:again{attempt, failures}`); attempt does not count a start that never was.
--               code: the outcome's code, or never_fits, drained, queue_deleted, hold_time, attempts_used, policy.
--               reason: a sentence for people (the outcome's).
--   wake        at = ms
--               Send `tick` at that time. A new wake replaces the old one.
--
-- NOTES: the second result of step(): `{note = "policy", policy = name, job = id | false, error = text}` for each
-- policy answer that was nonsense (that entry is dropped) or an error (the built-in policy decided instead).
--
-- `step` raises on what the contract forbids: an unknown event, an unknown job, a second answer.

local fit = require("fit")
local lists = require("lists")
local outcomes = require("outcome")
local policy_guard = require("policy_guard")
local views = require("scheduler_views")

local m = {}

local STATE_VERSION = 1
local SECOND = 1000
local HOUR = 3600 * SECOND
local LOOK_AGAIN = 30 * SECOND -- while something waits, decide at least this often
local FIRST_CLOSED = 30 * SECOND
local LONGEST_CLOSED_HOLD = 600 * SECOND
local LONGEST_CLOSED_NEVER_FITS = HOUR

---@class scheduler.core
---@field state table plain data, all of it exported
local core = {}
core.__index = core

local function fail(format, ...)
  error("scheduler: " .. string.format(format, ...), 0)
end

-- ---- What is derived from the state ---------------------------------------------------------------------------------

function core:index()
  self.jobs_by_id, self.queues_by_name, self.waiting = {}, {}, {}
  for _, job in ipairs(self.state.jobs) do
    self.jobs_by_id[job.id] = job
    if job.state == "waiting" then
      self.waiting[#self.waiting + 1] = job
    end
  end
  table.sort(self.waiting, lists.by_rank)
  for _, queue in ipairs(self.state.queues) do
    self.queues_by_name[queue.name] = queue
  end
end

function core:emit(effect)
  self.effects[#self.effects + 1] = effect
end

function core:job_of(event)
  local job = self.jobs_by_id[event.job]
  if not job then
    fail("the event %q names job %s, which is not here", event.event, tostring(event.job))
  end
  return job
end

function core:to_waiting(job)
  job.state = "waiting"
  lists.insert(self.waiting, job, lists.by_rank)
end

function core:forget(job)
  if job.state == "waiting" then
    lists.remove(self.waiting, job)
  end
  lists.remove(self.state.jobs, job)
  self.jobs_by_id[job.id] = nil
end

-- Something was given back: jobs whose booking was refused may be tried again.
function core:released()
  for _, job in ipairs(self.waiting) do
    job.blocked = false
  end
end

-- ---- Answers --------------------------------------------------------------------------------------------------------

---@param effect string done, again, set_aside or hand_back
function core:answer(job, effect, code, reason, delay)
  if job.state == "waiting" then
    lists.remove(self.waiting, job)
  end
  job.state = "settling"
  self:emit({
    effect = effect,
    job = job.id,
    attempt = job.started and job.attempt or math.max(0, job.attempt - 1),
    failures = job.failures,
    code = code,
    reason = reason,
    delay = effect == "again" and (delay or 0) or nil,
  })
end

-- No new deliveries of this queue for a while; each time for twice as long, until one of its jobs has started.
function core:close_queue(name, code, longest)
  local queue = self.queues_by_name[name]
  local now = self.state.now
  if not queue or (queue.closed_until and queue.closed_until > now) then
    return
  end
  queue.closed_for = queue.closed_for == 0 and FIRST_CLOSED or math.min(2 * queue.closed_for, longest)
  queue.closed_until = now + queue.closed_for
  queue.closed_code = code
end

-- More than this host has in all: only somebody bigger can run it, or nobody.
function core:check_ever_fits(job)
  local lack = fit.lacks(job.needs, self.state.total)
  if not lack then
    return
  end
  local queue = self.queues_by_name[job.queue]
  local reason = views.lack_sentence(lack)
  if queue and queue.others == 0 then
    self:answer(job, "set_aside", "never_fits", reason)
  else
    self:answer(job, "hand_back", "never_fits", reason)
    self:close_queue(job.queue, "never_fits", LONGEST_CLOSED_NEVER_FITS)
  end
end

function core:used_up(job)
  return job.failures >= self.state.attempts
end

-- ---- Events ---------------------------------------------------------------------------------------------------------

local on = {}

function on.capacity(self, event)
  local state, total = self.state, event.total
  if not fit.is_total(total) then
    fail("capacity: total is {cores, mem, disk, gpus}, whole numbers from 0 on")
  end
  state.name = event.name or state.name
  state.total = fit.copy(total)
  state.attempts = event.attempts or state.attempts
  state.hold_time = event.hold_time or state.hold_time
  self:released()
  for i = #self.waiting, 1, -1 do
    self:check_ever_fits(self.waiting[i])
  end
end

function on.queue_seen(self, event)
  local queue = self.queues_by_name[event.queue]
  if not queue then
    if type(event.queue) ~= "string" then
      fail("queue_seen: queue is a name")
    end
    queue = views.new_queue(event.queue, self.state.now)
    self.queues_by_name[queue.name] = queue
    lists.insert(self.state.queues, queue, lists.by_name)
  end
  queue.backend = event.backend or queue.backend
  queue.ready = event.ready or false
  queue.others = event.others or false
end

function on.queue_gone(self, event)
  local queue = self.queues_by_name[event.queue]
  if not queue then
    return
  end
  for _, job in ipairs(self.state.jobs) do
    if job.queue == queue.name then
      job.orphan = true -- a later queue of this name is another one
      if job.state == "waiting" then
        self:answer(job, "done", "queue_deleted", "the queue was deleted before the job started")
      end
    end
  end
  lists.remove(self.state.queues, queue)
  self.queues_by_name[queue.name] = nil
end

function on.received(self, event)
  local job = views.new_job(event.job, self.state.now, fail)
  if self.jobs_by_id[job.id] then
    fail("received: job %.0f is here already", job.id)
  elseif event.outcome and not outcomes.is_outcome(event.outcome) then
    fail("received: outcome is no outcome as outcome.lua makes it")
  end
  lists.insert(self.state.jobs, job, lists.by_id)
  self.jobs_by_id[job.id] = job
  local queue = self.queues_by_name[job.queue]
  if not queue then
    self:answer(job, "hand_back", "queue_deleted", "its queue is not served any more")
  elseif event.outcome then
    self:conclude(job, event.outcome)
  elseif self:used_up(job) then
    self:answer(job, "set_aside", "attempts_used",
      string.format("%.0f of %.0f attempts failed", job.failures, self.state.attempts))
  else
    queue.needs = fit.needs(job.needs)
    job.rank = self.guard:rank(views.job(job, self.state.now), self:queue_view(queue), self:node_view())
    self:to_waiting(job)
    self:check_ever_fits(job)
  end
end

function on.started(self, event)
  local job = self:job_of(event)
  if job.state ~= "starting" then
    fail("started: job %.0f is %s", job.id, job.state)
  end
  job.state = "running"
  job.started = self.state.now
  local queue = self.queues_by_name[job.queue]
  if queue then
    queue.closed_for = 0
  end
end

function on.not_booked(self, event)
  local job = self:job_of(event)
  if job.state ~= "starting" then
    fail("not_booked: job %.0f is %s", job.id, job.state)
  end
  job.placement, job.holds_compute, job.holds_disk = false, false, false
  if job.lost then
    self:forget(job)
  elseif job.orphan then
    self:answer(job, "done", "queue_deleted", "the queue was deleted before the job started")
  else
    job.blocked = true
    self:to_waiting(job)
  end
end

function on.progress(self, event)
  local job = self.jobs_by_id[event.job]
  if not job then
    return
  end
  job.step = event.step or job.step
  if event.released == "compute" and job.holds_compute then
    job.holds_compute = false
    self:released()
  end
end

-- The time that a job had its cores, and how it went, as `rank` and `intake` may look at it.
function core:remember(job, failed)
  local queue = not job.orphan and self.queues_by_name[job.queue]
  if not (queue and job.started) then
    return
  end
  views.halve_usage(queue, self.state.now)
  queue.usage = queue.usage + job.placement.cores * (self.state.now - job.started)
  queue.failures = failed and queue.failures + 1 or 0
end

-- The attempt is over, or will never be: what becomes of the job? The host enforces the number of attempts.
function core:conclude(job, outcome)
  local failed = outcomes.is_failure(outcome.code)
  local view = views.job(job, self.state.now)
  self:remember(job, failed)
  job.failures = job.failures + (failed and 1 or 0)
  local answer = self.guard:retry(view, views.outcome(outcome))
  if self:used_up(job) and (answer.action == "again" or answer.action == "hand_back") then
    self:answer(job, "set_aside", "attempts_used", string.format("%.0f of %.0f attempts failed, the last one: %s: %s",
      job.failures, self.state.attempts, outcome.code, outcome.sentence))
  else
    self:answer(job, answer.action, outcome.code, outcome.sentence, answer.delay)
  end
end

function on.ended(self, event)
  local job = self:job_of(event)
  if job.state == "settling" then
    fail("ended: job %.0f is answered already", job.id)
  elseif not outcomes.is_outcome(event.outcome) then
    fail("ended: outcome is no outcome as outcome.lua makes it")
  end
  job.holds_compute = false
  job.holds_disk = job.holds_disk and job.started ~= false
  self:released()
  for _, queue in ipairs(self.state.queues) do
    if queue.closed_code == "hold_time" then
      queue.closed_until = false
    end
  end
  self:conclude(job, event.outcome)
end

function on.settled(self, event)
  local job = self.jobs_by_id[event.job]
  if not job then
    return -- `lost` came first
  elseif job.state ~= "settling" then
    fail("settled: job %.0f is %s", job.id, job.state)
  end
  self:forget(job)
  self:released()
end

function on.lost(self, event)
  local job = self.jobs_by_id[event.job]
  if not job then
    return
  elseif job.state == "waiting" or job.state == "settling" then
    self:forget(job)
    self:released()
  else
    job.lost = true
  end
end

function on.tick(self)
  local state = self.state
  if state.wake_at and state.now >= state.wake_at then
    state.wake_at = false
  end
  self:released()
  local node, queue_views = self:node_view(), {}
  for _, job in ipairs(self.waiting) do
    local name = job.queue
    queue_views[name] = queue_views[name] or self:queue_view(self.queues_by_name[name])
    job.rank = self.guard:rank(views.job(job, state.now), queue_views[name], node)
  end
  table.sort(self.waiting, lists.by_rank)
end

function on.drain(self)
  self.state.draining = true
end

function on.resume(self)
  self.state.draining = false
end

-- ---- Decisions ------------------------------------------------------------------------------------------------------

function core:free()
  local free = fit.copy(self.state.total)
  for _, job in ipairs(self.state.jobs) do
    if job.placement then
      fit.take(free, views.held(job))
    end
  end
  return free
end

function core:node_view()
  return views.node(self.state, self:free())
end

function core:queue_view(queue)
  return views.queue(queue, self.state)
end

function core:plan()
  local offered, needs_of = {}, {}
  for _, job in ipairs(self.waiting) do
    if not job.blocked then
      offered[#offered + 1] = views.job(job, self.state.now)
      needs_of[job.id] = job.needs
    end
  end
  if #offered == 0 then
    return nil
  end
  local plan = self.guard:plan(offered, self:node_view(), needs_of)
  for _, entry in ipairs(plan) do
    local job = self.jobs_by_id[entry.start or entry.hand_back or entry.wait]
    if entry.start then
      lists.remove(self.waiting, job)
      job.state = "starting"
      job.placement, job.holds_compute, job.holds_disk = entry.placement, true, true
      self:emit({ effect = "start", job = job.id, placement = fit.placement(entry.placement) })
    elseif entry.hand_back then
      self:answer(job, "hand_back", "policy", entry.reason)
      self:close_queue(job.queue, "policy", LONGEST_CLOSED_HOLD)
    end
  end
  return plan.wake
end

-- Others could run what we only hold: give it to them, and take nothing of that queue for a while.
function core:hand_back_held()
  local state = self.state
  for i = #self.waiting, 1, -1 do
    local job = self.waiting[i]
    local queue = self.queues_by_name[job.queue]
    if queue.others and queue.others > 0 and state.now - job.received >= state.hold_time then
      self:answer(job, "hand_back", "hold_time", string.format("held for %.0f s while others consume the queue",
        (state.now - job.received) / SECOND))
      self:close_queue(job.queue, "hold_time", LONGEST_CLOSED_HOLD)
    end
  end
end

function core:hand_back_all()
  for i = #self.waiting, 1, -1 do
    self:answer(self.waiting[i], "hand_back", "drained", "this host takes no new work")
  end
end

-- A full host holds nothing, but where nobody else would take it and on a folder, where holding costs nobody anything.
function core:credit_of(queue)
  local state = self.state
  if state.draining then
    return 0, queue.priority
  end
  local running = views.count(state, queue.name, "running") + views.count(state, queue.name, "starting")
  if queue.closed_until and queue.closed_until > state.now then
    return running, queue.priority
  end
  queue.closed_until = false
  local intake = self.guard:intake(self:queue_view(queue), self:node_view())
  local waiting = intake.waiting
  if queue.backend ~= "folder" and queue.others ~= 0 then
    waiting = fit.count(queue.needs or { cores = 1 }, self:free(), waiting)
  end
  return running + waiting, intake.priority
end

function core:give_credit()
  for _, queue in ipairs(self.state.queues) do
    local n, priority = self:credit_of(queue)
    if n ~= queue.credit or priority ~= queue.priority then
      queue.credit, queue.priority = n, priority
      self:emit({ effect = "credit", queue = queue.name, n = n, priority = priority })
    end
  end
end

function core:ask_to_be_woken(plan_wake)
  local state = self.state
  local at = plan_wake or math.huge
  if #self.waiting > 0 then
    at = math.min(at, state.now + LOOK_AGAIN)
  end
  for _, job in ipairs(self.waiting) do
    local queue = self.queues_by_name[job.queue]
    if queue.others and queue.others > 0 then
      at = math.min(at, job.received + state.hold_time)
    end
  end
  for _, queue in ipairs(state.queues) do
    if queue.closed_until and not state.draining then
      at = math.min(at, queue.closed_until)
    end
  end
  if at < math.huge and (not state.wake_at or at < state.wake_at) then
    state.wake_at = at
    self:emit({ effect = "wake", at = at })
  end
end

function core:decide()
  local wake
  if self.state.draining then
    self:hand_back_all()
  elseif #self.waiting > 0 then
    wake = self:plan()
    self:hand_back_held()
  end
  self:give_credit()
  self:ask_to_be_woken(wake)
end

-- ---- The fold -------------------------------------------------------------------------------------------------------

--- Takes one event in. Raises on what the contract above forbids; the state is then not to be used any more.
---@param event table
---@return table[] effects
---@return table[] notes
function core:step(event)
  if type(event) ~= "table" then
    fail("an event is a table, not a %s", type(event))
  end
  self.effects = {}
  if event.event == "snapshot" then
    self:import(event.state)
    return self.effects, {}
  end
  local handler = on[event.event]
  if not handler then
    fail("there is no event %q", tostring(event.event))
  elseif not fit.is_count(event.now) then
    fail("the event %q has no time `now` in milliseconds", event.event)
  elseif not self.state.total and event.event ~= "capacity" then
    fail("the first event is capacity or snapshot, not %q", event.event)
  end
  self.state.now = math.max(self.state.now, event.now)
  handler(self, event)
  self:decide()
  return self.effects, self.guard:take_notes()
end

--- The whole state as plain data, shared with nobody.
---@return table
function core:export()
  return lists.deep_copy(self.state)
end

--- Goes on from what export() gave.
---@param state table
function core:import(state)
  if type(state) ~= "table" or state.version ~= STATE_VERSION then
    fail("snapshot: no state of version %d", STATE_VERSION)
  end
  self.state = lists.deep_copy(state)
  self:index()
end

--- A core without a past.
---@param policies table<string, table> name -> what its file returned; a missing one is the built-in
---@return scheduler.core
function m.new(policies)
  local self = setmetatable({ guard = policy_guard.new(policies) }, core)
  self:import(views.new_state(STATE_VERSION))
  return self
end

return m
