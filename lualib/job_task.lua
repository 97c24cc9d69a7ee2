-- A job's life on this host: from its message to its outcome, whatever its script does.
local errors = require "errors"
local job_module = require "job"
local message = require "studioml.message"
local outcome = require "outcome"

local job_task = {}

--- Reads a delivery's message.
---@return table|nil job
---@return table|nil err why it is refused
function job_task.understand(delivery, context)
  if not delivery.body then
    return nil, delivery.problem
  end
  local options = context.options
  local parsed, err = message.parse(delivery.body, {
    cores = options["job.default-cpus"], mem = options["job.default-ram"], disk = options["job.default-hdd"],
  })
  if not parsed then
    return nil, err
  end
  return job_module.new(delivery, parsed, context)
end

--- The outcome `expired` for the fold, when the job's lifetime is over before it started; else nil.
function job_task.expired(job)
  local lifetime = job.message.lifetime
  if lifetime and job.added + lifetime < host.time.wall() then
    job.outcome = outcome.new("expired",
      ("its lifetime of %s was over before it started"):format(host.quantity.format_duration(math.max(0, lifetime))))
    return job.outcome
  end
end

-- The script's task: everything that a script can do wrong ends it and nothing else.
local function call_script(job)
  local script = job.context.scripts.handle_job
  return script(job)
end

local function outcome_of_script(job, results, err)
  if outcome.is_outcome(results) then
    return outcome.new(results.code, results.sentence, results) -- a copy: a script may have put anything into it
  elseif job.interrupted then
    return job.interrupted
  elseif type(err) == "table" and err.traceback then
    return outcome.new("script_failed", err.message)
  elseif outcome.is_outcome(err) then
    return outcome.new(err.code, err.sentence, err) -- `return job:fetch_artifacts()`: nil and the outcome
  end
  return outcome.new("script_failed",
    ("scripts/handle_job.lua returned %s, should be an outcome"):format(type(results)))
end

-- Waits for the script, whatever happens: when this task is cancelled, so is the script.
local function run_script(job)
  local err
  job.task, err = host.task.start(call_script, job)
  if not job.task then
    return outcome.of_error("start_failed", err)
  end
  if job.interrupted then
    job.task:cancel(errors.new("task.cancelled", job.interrupted.sentence))
  end
  local results
  results, err = job.task:join()
  if not job.task:done() then
    job.task:cancel(err)
    job.task:await_end()
    results, err = job.task:join()
  end
  return outcome_of_script(job, results, err)
end

--- Runs a booked job to its outcome, which stands in `job.outcome` afterwards. Never fails. Waits.
function job_task.run(job)
  host.task.set_fields({ key = job.key, queue = job.queue, attempt = job.attempt })
  host.log("info", "job.started", { cores = job.placement.cores, mem = job.placement.mem })
  job.outcome = run_script(job)
  host.log(job.outcome.code == "succeeded" and "info" or "warning", "job.ended",
    { outcome = job.outcome.code, sentence = job.outcome.sentence, duration = job.outcome.duration or nil,
      peak = job.outcome.peak or nil })
end

--- Ends a job that runs, for the second signal or a failed core.
function job_task.interrupt(job)
  job:interrupt(outcome.new("interrupted", "the runner was told to stop"))
end

return job_task
