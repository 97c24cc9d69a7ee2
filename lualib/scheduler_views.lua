--- The records of the decision core, and the plain copies of them that policies see. Part of scheduler.lua.

local fit = require("fit")

local m = {}

local HOUR = 3600 * 1000

-- ---- Records --------------------------------------------------------------------------------------------------------

--- The state before the first event, without a capacity.
---@param version integer of the state's form
---@return table
function m.new_state(version)
  return {
    version = version,
    now = 0,
    name = "",
    total = false,
    attempts = 3,
    hold_time = 30 * 1000,
    draining = false,
    wake_at = false,
    queues = {},
    jobs = {},
  }
end

---@param name string
---@param now integer
---@return table
function m.new_queue(name, now)
  return {
    name = name,
    backend = "folder",
    ready = false,
    others = false,
    needs = false,
    failures = 0, -- attempts that failed since the last one that did not
    usage = 0,
    usage_at = now,
    weight = 1,
    credit = -1, -- none was given yet
    priority = 0,
    closed_until = false,
    closed_for = 0,
    closed_code = "",
  }
end

--- The record of a received job; raises through `fail` when the event is not as the contract says.
---@param given any
---@param now integer
---@param fail fun(format: string, ...: any)
---@return table
function m.new_job(given, now, fail)
  if type(given) ~= "table" or not fit.is_count(given.id) or type(given.queue) ~= "string" then
    fail("received: job is a table with an integer id and a queue")
  end
  for _, name in ipairs({ "added", "attempt", "failures" }) do
    if not fit.is_count(given[name]) then
      fail("received: job %.0f: %s is a whole number", given.id, name)
    end
  end
  local needs = fit.needs(given.needs)
  for _, name in ipairs({ "cores", "mem", "disk", "gpus", "gpu_mem" }) do
    if not fit.is_count(needs[name]) then
      fail("received: job %.0f: needs.%s is a whole number", given.id, name)
    end
  end
  return {
    id = given.id,
    key = given.key or "",
    queue = given.queue,
    project = given.project or false,
    owner = given.owner or false,
    needs = needs,
    max_duration = given.max_duration or false,
    added = given.added,
    attempt = given.attempt,
    failures = given.failures,
    redelivered = given.redelivered or false,
    environment_ready = given.environment_ready or false,
    state = "new",
    received = now,
    rank = 0,
    blocked = false, -- the account refused it; nothing was released since
    placement = false,
    holds_compute = false,
    holds_disk = false,
    started = false,
    step = false,
    lost = false,
    orphan = false, -- its queue is gone
  }
end

--- What a job with a placement holds now.
---@param job table
---@return table
function m.held(job)
  local placement = job.placement
  return {
    cores = job.holds_compute and placement.cores or 0,
    mem = job.holds_compute and placement.mem or 0,
    disk = job.holds_disk and placement.disk or 0,
    gpus = job.holds_compute and placement.gpus or {},
    gpu_mem = placement.gpu_mem,
  }
end

--- How many jobs of this queue's present life are in that state.
---@param state table
---@param queue_name string
---@param job_state string
---@return integer
function m.count(state, queue_name, job_state)
  local n = 0
  for _, job in ipairs(state.jobs) do
    if job.queue == queue_name and job.state == job_state and not job.orphan then
      n = n + 1
    end
  end
  return n
end

--- Usage halves at every full hour since the queue was seen first: whole numbers, the same on every machine.
---@param queue table
---@param now integer
function m.halve_usage(queue, now)
  local hours = math.floor((now - queue.usage_at) / HOUR)
  queue.usage_at = queue.usage_at + hours * HOUR
  for _ = 1, math.min(hours, 53) do
    queue.usage = math.floor(queue.usage / 2)
  end
end

-- ---- Views ----------------------------------------------------------------------------------------------------------

---@param job table
---@param now integer
---@return table
function m.job(job, now)
  return {
    id = job.id,
    key = job.key,
    queue = job.queue,
    project = job.project,
    owner = job.owner,
    needs = fit.needs(job.needs),
    max_duration = job.max_duration,
    added = job.added,
    age = math.max(0, now - job.added),
    waited = math.max(0, now - job.received),
    attempt = job.attempt,
    failures = job.failures,
    redelivered = job.redelivered,
    environment_ready = job.environment_ready,
  }
end

---@param queue table
---@param state table
---@return table
function m.queue(queue, state)
  m.halve_usage(queue, state.now)
  return {
    name = queue.name,
    backend = queue.backend,
    ready = queue.ready,
    others = queue.others,
    waiting = m.count(state, queue.name, "waiting"),
    running = m.count(state, queue.name, "starting") + m.count(state, queue.name, "running"),
    needs = queue.needs and fit.needs(queue.needs),
    failures = queue.failures,
    usage = queue.usage,
    weight = queue.weight,
  }
end

---@param state table
---@param free table a copy that the view may keep
---@return table
function m.node(state, free)
  local running = {}
  for _, job in ipairs(state.jobs) do
    if job.state == "starting" or job.state == "running" then
      running[#running + 1] = {
        id = job.id,
        key = job.key,
        queue = job.queue,
        needs = fit.needs(job.needs),
        placement = fit.placement(job.placement),
        started = job.started,
        ends = job.started and job.max_duration and job.started + job.max_duration,
      }
    end
  end
  return {
    now = state.now,
    name = state.name,
    total = fit.copy(state.total),
    free = free,
    running = running,
    draining = state.draining,
  }
end

---@param outcome table
---@return table
function m.outcome(outcome)
  return {
    code = outcome.code,
    exit = outcome.exit or false,
    signal = outcome.signal or false,
    retryable = outcome.retryable == true,
    duration = outcome.duration or false,
    peak = outcome.peak or false,
  }
end

-- ---- Sentences ------------------------------------------------------------------------------------------------------

local COUNTED = { cores = "cores", gpus = "GPUs" }
local WEIGHED = { memory = "of memory", disk = "of disk", gpu_memory = "of memory on one GPU" }

local function size(bytes)
  if bytes >= 2 ^ 30 then
    return string.format("%.1f GiB", bytes / 2 ^ 30)
  end
  return string.format("%.1f MiB", bytes / 2 ^ 20)
end

--- "needs 8 cores; this host has 2 in all"
---@param lack table from fit.lacks
---@return string
function m.lack_sentence(lack)
  local what = WEIGHED[lack.rule]
  if what then
    return string.format("needs %s %s; this host has %s in all", size(lack.need), what, size(lack.have))
  end
  return string.format("needs %.0f %s; this host has %.0f in all", lack.need, COUNTED[lack.rule], lack.have)
end

return m
