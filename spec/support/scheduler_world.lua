--- A made-up host around a decision core, for property tests: random arrivals, bookings and endings from a seed. It
-- keeps its own books, and raises when the core asks for what is not there, answers twice, or loses a job.

local fit = require("fit")
local outcome = require("outcome")

local m = {}

local world = {}
world.__index = world

local ENDINGS = {
  "succeeded", "failed", "signalled", "fetch_failed", "environment_failed", "script_failed", "interrupted", "stopped",
}

--- A small generator of our own: the same numbers on every machine.
function world:random(n)
  self.seed = (self.seed * 16807) % 2147483647
  return self.seed % n + 1
end

function world.check(_, condition, format, ...)
  if not condition then
    error("the core broke its word: " .. string.format(format, ...), 0)
  end
  return condition
end

--- Sends one event, and carries out what comes back.
function world:send(event)
  event.now = self.now
  self.events[#self.events + 1] = event
  local effects = assert(self.step(event))
  for _, effect in ipairs(effects) do
    self.effects[#self.effects + 1] = effect
    self["on_" .. effect.effect](self, effect)
  end
  self:check_books()
  if self.after_step then
    self.after_step(self)
  end
end

function world:on_credit(effect)
  self:check(self.queues[effect.queue], "credit for %s, which is not served", effect.queue)
  self:check(effect.n >= 0 and effect.n % 1 == 0, "credit %s", tostring(effect.n))
  self:check(self.credit[effect.queue] ~= effect.n, "credit %d again", effect.n)
  self.credit[effect.queue] = effect.n
end

function world:on_wake(effect)
  self:check(effect.at > self.now, "wake at %d, now is %d", effect.at, self.now)
  self.wake_at = effect.at
end

function world:on_start(effect)
  local job = self:check(self.jobs[effect.job], "start of job %d, which is not here", effect.job)
  self:check(job.state == "waiting", "start of job %d, which is %s", effect.job, job.state)
  job.state, job.placement = "starting", effect.placement
  job.compute, job.disk = true, true
end

function world:on_answer(effect)
  local job = self:check(self.jobs[effect.job], "%s of job %d, which is not here", effect.effect, effect.job)
  self:check(job.state ~= "settling", "%s of job %d, which is answered", effect.effect, effect.job)
  self:check(job.state == "waiting" or job.ended, "%s of job %d, which is %s", effect.effect, effect.job, job.state)
  self:check(effect.failures <= self.attempts, "%d failures", effect.failures)
  self:check(effect.attempt == (job.started and job.attempt or job.attempt - 1), "attempt %d", effect.attempt)
  self:check(type(effect.reason) == "string" and type(effect.code) == "string", "an answer without reason")
  self:check((effect.delay ~= nil) == (effect.effect == "again"), "a delay")
  job.state, job.answer = "settling", effect
  self.answers = self.answers + 1
end
world.on_done, world.on_again = world.on_answer, world.on_answer
world.on_set_aside, world.on_hand_back = world.on_answer, world.on_answer

-- What is booked is never more than there is.
function world:check_books()
  local cores, mem, disk, cards = 0, 0, 0, {}
  for _, job in pairs(self.jobs) do
    if job.placement and job.compute then
      cores, mem = cores + job.placement.cores, mem + job.placement.mem
      for _, uuid in ipairs(job.placement.gpus) do
        local share = job.placement.gpu_mem
        cards[uuid] = (cards[uuid] or 0) + (share == 0 and self.card_mem or share)
        self:check(cards[uuid] <= self.card_mem, "GPU %s is booked twice", uuid)
      end
    end
    disk = disk + (job.placement and job.disk and job.placement.disk or 0)
  end
  self:check(cores <= self.largest.cores, "%d cores are booked", cores)
  self:check(mem <= self.largest.mem, "%d bytes of memory are booked", mem)
  self:check(disk <= self.largest.disk, "%d bytes of disk are booked", disk)
end

--- Ids of the jobs in one of these states, in order.
function world:in_state(...)
  local ids = {}
  for id, job in pairs(self.jobs) do
    for _, state in ipairs({ ... }) do
      if job.state == state then
        ids[#ids + 1] = id
      end
    end
  end
  table.sort(ids)
  return ids
end

function world:pick(...)
  local ids = self:in_state(...)
  return #ids > 0 and self.jobs[ids[self:random(#ids)]] or nil
end

-- ---- What may happen ------------------------------------------------------------------------------------------------

local happen = {}

function happen.arrival(self)
  local names = { "a", "b", "c" }
  local queue = names[self:random(#names)]
  if not self.queues[queue] then
    return
  end
  self.last_id = self.last_id + 1
  local job = {
    id = self.last_id, key = "job-" .. self.last_id, queue = queue, project = false, owner = false,
    needs = { cores = self:random(5), mem = self:random(900), disk = self:random(400), gpus = self:random(4) - 3 > 0
      and 1 or 0, gpu_mem = self:random(2) == 1 and 0 or self:random(40) },
    max_duration = false, added = self.now - self:random(100000), attempt = self:random(3),
    failures = self:random(5) - 2 > 0 and 1 or 0, redelivered = false, environment_ready = true,
  }
  self.received = self.received + 1
  self.jobs[job.id] = { id = job.id, state = "waiting", attempt = job.attempt, needs = job.needs, queue = queue }
  self:send({ event = "received", job = job })
end

function happen.booking(self)
  local job = self:pick("starting")
  if not job then
    return
  elseif self:random(5) == 1 then
    job.state, job.placement, job.compute, job.disk = "waiting", nil, false, false
    if job.lost then -- nobody waits for an answer
      self.jobs[job.id] = nil
      self.lost = self.lost + 1
    end
    self:send({ event = "not_booked", job = job.id })
  else
    job.state, job.started = "running", true
    self:send({ event = "started", job = job.id })
  end
end

function happen.release(self)
  local job = self:pick("running")
  if job then
    job.compute = false
    self:send({ event = "progress", job = job.id, step = "saving", released = "compute" })
  end
end

function happen.ending(self)
  local job = self:pick("running")
  if job then
    job.ended, job.compute = true, false
    local code = ENDINGS[self:random(#ENDINGS)]
    self:send({ event = "ended", job = job.id, outcome = outcome.new(code, "made up") })
  end
end

function happen.settling(self)
  local job = self:pick("settling")
  if job then
    self.jobs[job.id] = nil
    self:send({ event = "settled", job = job.id, how = "acknowledged" })
  end
end

function happen.time(self)
  self.now = self.now + self:random(20000)
  if self.wake_at and self.wake_at <= self.now then
    self.wake_at = nil
    self:send({ event = "tick" })
  end
end

function happen.look(self)
  local names = { "a", "b", "c" }
  local name = names[self:random(#names)]
  self.queues[name] = true
  self:send({ event = "queue_seen", queue = name, backend = name == "c" and "amqp" or "folder",
    ready = self:random(9), others = self:random(3) - 1 })
end

function happen.rare(self)
  local what = self:random(12)
  if what == 1 then
    self:send({ event = "drain" })
    happen.arrival(self)
    self:send({ event = "resume" })
  elseif what == 2 and self.queues.b then
    self.queues.b, self.credit.b = nil, nil
    self:send({ event = "queue_gone", queue = "b" })
  elseif what == 3 then
    local job = self:pick("waiting")
    if job then
      self.jobs[job.id] = nil
      self.lost = self.lost + 1
      self:send({ event = "lost", job = job.id })
    end
  elseif what == 4 then
    local job = self:pick("running", "starting")
    if job then
      job.lost = true
      self:send({ event = "lost", job = job.id })
    end
  end
end

local NAMES = { "arrival", "arrival", "arrival", "booking", "booking", "booking", "release", "ending", "ending",
  "settling", "settling", "time", "look", "rare" }

--- Lets `n` random things happen.
function world:live(n)
  for _ = 1, n do
    happen[NAMES[self:random(#NAMES)]](self)
  end
end

--- Takes nothing new and ends whatever is there; every job must be answered then.
function world:finish()
  for _ = 1, 2000 do
    if next(self.jobs) == nil then
      return true
    end
    happen.booking(self)
    happen.ending(self)
    happen.settling(self)
    happen.time(self)
  end
  return false
end

--- What is free by the world's own books, for a check of work conservation.
function world:free()
  local free = fit.copy(self.total)
  for _, id in ipairs(self:in_state("starting", "running", "settling")) do
    local job = self.jobs[id]
    if job.placement then
      fit.take(free, {
        cores = job.compute and job.placement.cores or 0, mem = job.compute and job.placement.mem or 0,
        disk = job.disk and job.placement.disk or 0, gpus = job.compute and job.placement.gpus or {},
        gpu_mem = job.placement.gpu_mem,
      })
    end
  end
  return free
end

--- A world with a host of 4 cores and 2 GPUs, whose core is reached through `step(event) -> effects`.
---@param seed integer
---@param step fun(event: table): table
function m.new(seed, step)
  local self = setmetatable({
    seed = seed * 7919 + 13, step = step, now = 1700000000000, jobs = {}, queues = {}, credit = {}, events = {},
    effects = {}, received = 0, answers = 0, lost = 0, last_id = 0, attempts = 3, card_mem = 40,
    total = { cores = 4, mem = 1500, disk = 900, gpus = { { uuid = "g1", mem = 40 }, { uuid = "g2", mem = 40 } } },
  }, world)
  self.largest = self.total
  self:send({ event = "capacity", name = "host", total = fit.copy(self.total), attempts = self.attempts })
  for _, name in ipairs({ "a", "b", "c" }) do
    self.queues[name] = true
    self:send({ event = "queue_seen", queue = name, backend = name == "c" and "amqp" or "folder", ready = 1,
      others = 0 })
  end
  return self
end

return m
