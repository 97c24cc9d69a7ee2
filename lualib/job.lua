-- One job on this host: the steps that scripts/handle_job.lua calls, each an ordinary call that waits.
--
-- A step returns true, or nil and the outcome. Whatever ends the job from outside (a stop, a drain, a deadline) cancels
-- its task; the waiting step then fails, and the outcome is the one that the canceller gave to `job:interrupt`.
local command = require "command"
local errors = require "errors"
local job_environment = require "studioml.job_environment"
local layout = require "studioml.layout"
local lease = require "lease"
local outcome = require "outcome"
local python_env = require "python_env"
local stores = require "stores"

local job = {}

local Job = {}
Job.__index = Job

local SAVE_LIMIT = 10 * 60 * 1000 -- ms that saving may take although the job has been cancelled
-- The CompletionService takes a result only when its entry is younger than the moment at which it thinks that it has
-- submitted the job, which is a second and more after the message is out.
local RESULT_AGE = 15000 -- ms after receipt
local REMOVE_TRIES, REMOVE_WAIT = 3, 1000 -- to take the folder away, and ms between
local OUTPUT = "output"
local RETVAL = "retval"

--- A job from a delivery and its validated message. It does not hold the delivery: scripts get the job, and only
--- `settle` answers.
---@param delivery table the interface `delivery`
---@param message table of studioml.message
---@param context table shared by the jobs of a host: options, jobs and environments (open folders), scripts, name (the
--- host's), run, on_program_ended(job)
function job.new(delivery, message, context)
  return setmetatable({
    id = delivery.id, key = message.key, queue = delivery.queue, project = message.project, owner = message.owner,
    attempt = delivery.attempt, failures = delivery.failures, needs = message.needs,
    added = message.added or delivery.added, digest = host.digest.sha256(delivery.body),
    message = message, context = context, saved = false, received = host.time.wall(),
  }, Job)
end

--- Ends the job from outside with this outcome; the first one counts. Does nothing to a job that is saving.
function Job:interrupt(ended)
  if not self.interrupted and not self.saving then
    self.interrupted = ended
    if self.task then
      self.task:cancel(errors.new("task.cancelled", ended.sentence))
    end
  end
end

--- Ends the job's processes now, without the grace that they had.
function Job:kill()
  if self.process then
    self.process:stop(0)
  end
end

-- The outcome of a failed step: the canceller's, if that is why it failed.
local function fail(self, code, err)
  if errors.is(err, "task.cancelled") then
    code = "interrupted"
  end
  return nil, self.interrupted or outcome.of_error(code, err)
end

--- Opens the store and the lease on the document, once. Nothing is written.
---@return true|nil, table|nil err
function Job:open_store()
  if self.store then
    return true
  end
  local store, err = stores.open(self.message)
  if not store then
    return nil, err
  end
  self.store = store
  self.lease = lease.new(store, self.key, {
    attempt = self.attempt, failures = self.failures, runner = self.context.name, run = self.context.run,
    message = self.digest,
  })
  return true
end

-- A document that can not be used is no reason not to run; but then nobody can tell a second run.
local function begin_lease(self)
  local state, err = self.lease:begin()
  if not state then
    host.log("warning", "document.failed", { error = tostring(err), consequence = "may run twice" })
  end
  return state ~= "stopped"
end

--- Step: the job's folder in the client's layout, the store, and our name in the document.
function Job:make_workspace()
  local name = tostring(self.id)
  local made, err = self.context.jobs:mkdir(name, "0700")
  if not made then
    return fail(self, "start_failed", err)
  end
  self.folder = self.context.jobs:path() .. "/" .. name
  self.directory, err = self.context.jobs:open(name)
  if self.directory then
    self.experiment, err = layout.make(self.directory, self.key)
  end
  if not self.experiment then
    return fail(self, "start_failed", err)
  end
  local opened
  opened, err = self:open_store()
  if not opened then
    return fail(self, "fetch_failed", err)
  elseif not begin_lease(self) then
    return nil, outcome.new("stopped", "the user stopped it before it started")
  end
  return true
end

local function fetch(self, artifact)
  if artifact.tag == "_metadata" then
    return true
  end
  local fetched, err = self.store:fetch(artifact, self.experiment, artifact.tag, { max_bytes = self.needs.disk })
  if not fetched and artifact.mutable and errors.is(err, "store.not_found") then
    -- The client does not upload what a job will make.
    return true
  elseif not fetched then
    return nil, errors.wrap(err, "artifact " .. artifact.tag)
  end
  host.log("debug", "job.fetched", { artifact = artifact.tag, bytes = fetched.bytes_unpacked or fetched.bytes })
  return true
end

--- Step: the artifacts, into the job's folder. A mutable artifact that does not exist yet is none.
function Job:fetch_artifacts()
  for _, artifact in ipairs(self.message.artifacts) do
    local fetched, err = fetch(self, artifact)
    if not fetched then
      return fail(self, "fetch_failed", err)
    end
  end
  local completed, err = layout.complete(self.experiment, self.directory, self.folder, self.key,
    self.message.artifacts)
  if not completed then
    return fail(self, "start_failed", err)
  end
  host.log("info", "job.fetched", { artifacts = #self.message.artifacts })
  return true
end

-- Appends to the job's output, wherever a fetched `output` artifact has put it.
local function append_output(self, text)
  local entry = self.experiment and self.experiment:stat(OUTPUT)
  local name = entry and entry.kind == "directory" and OUTPUT .. "/" .. OUTPUT or OUTPUT
  self.output_name = name
  if text ~= "" and self.experiment then
    return self.experiment:append(name, text, "0600")
  end
  return true
end

--- Step: the Python interpreter, and its packages when the message names any.
function Job:prepare_environment()
  local interpreter, err = python_env.find_interpreter(self.message.python_version, self.directory)
  if not interpreter then
    return fail(self, "environment_failed", err)
  end
  self.python = interpreter.path
  local requirements = {}
  for _, list in ipairs({ self.message.requirements, self.message.extra_requirements }) do
    for _, requirement in ipairs(list) do
      requirements[#requirements + 1] = requirement
    end
  end
  if #requirements > 0 then
    local folder, log
    folder, err, log = python_env.ensure(self.context.environments, interpreter, requirements)
    if not folder then
      append_output(self, log or "")
      return fail(self, "environment_failed", err)
    end
    self.python_folder, self.python = folder, folder .. "/bin/python"
  end
  host.log("info", "job.prepared", { python = self.python, requirements = #requirements })
  return true
end

-- The wall time the program may take: its own maximum, or what is left of its lifetime; and the sentence for one that
-- takes longer. nil: no limit.
local function time_limit(self)
  local limit, sentence
  for _, maximum in ipairs({
    { self.message.max_duration or 0, "max_duration" },
    { self.context.options["job.max-duration"], "job.max-duration" },
  }) do
    if maximum[1] > 0 and (not limit or maximum[1] < limit) then
      limit = maximum[1]
      sentence = ("it ran longer than its %s of %s"):format(maximum[2], host.quantity.format_duration(limit))
    end
  end
  local lifetime = self.message.lifetime
  if lifetime then
    local left = math.max(0, lifetime + self.added - host.time.wall())
    if not limit or left < limit then
      limit = left
      sentence = ("its lifetime of %s was over while it ran"):format(
        host.quantity.format_duration(math.max(0, lifetime)))
    end
  end
  return limit, sentence
end

local function spawn(self)
  local options = self.context.options
  local argv = { self.python, self.message.program }
  for _, argument in ipairs(self.message.arguments) do
    argv[#argv + 1] = argument
  end
  local marks = { MOONRUNNER_RUN = self.context.run, MOONRUNNER_ATTEMPT = self.context.run .. "-" .. self.id }
  local workspace, err = self.experiment:open("workspace")
  if not workspace then
    return nil, err
  end
  local process
  process, err = host.process.spawn({
    path = self.python, argv = argv, dir = workspace, output = "../" .. self.output_name,
    env = job_environment.build(self.message, self.folder, {
      inherit = options["job.inherit"], cores = self.needs.cores, marks = marks, python_folder = self.python_folder,
    }),
    limits = { core = 0 }, grace = options["job.grace"],
  })
  workspace:close()
  return process, err
end

local function outcome_of_ending(ending)
  local details = {
    exit = ending.code or false, signal = ending.signal or false, peak = ending.max_rss,
    duration = ending.ended - ending.started,
  }
  if ending.code == 0 then
    return outcome.new("succeeded", "the program exited with status 0", details)
  elseif ending.code then
    return outcome.new("failed", ("the program exited with status %d"):format(ending.code), details)
  end
  return outcome.new("signalled", ("the program was ended by signal %d"):format(ending.signal), details)
end

-- Waits for the program within its time; returns its ending and, when it was ended from outside, the outcome's code
-- and sentence.
local function wait_for_program(self, process)
  local grace = self.context.options["job.grace"]
  local limit, too_long = time_limit(self)
  local ending, stopped_by
  if limit then
    ending, stopped_by = host.task.deadline(limit, command.wait, process, grace)
  else
    ending, stopped_by = command.wait(process, grace)
  end
  if not stopped_by then
    return ending
  elseif self.interrupted then
    return ending, self.interrupted.code, self.interrupted.sentence
  elseif errors.is(stopped_by, "task.cancelled") then
    return ending, "interrupted", stopped_by.message
  end
  return ending, "over_time", too_long or stopped_by.message
end

local function start_program(self)
  local header = self.attempt > 1
    and ("moonrunner: attempt %d of %d\n"):format(self.attempt, self.context.options["job.attempts"]) or ""
  local appended, err = append_output(self, header)
  if not appended then
    return nil, err
  end
  return spawn(self)
end

--- Step: the program, from its start to the proof that none of its processes is left.
---@return outcome
function Job:run()
  local watching, err = host.task.start(self.lease.watch, self.lease, function()
    self:interrupt(outcome.new("stopped", "the user stopped it"))
  end)
  local process
  if watching then
    process, err = start_program(self)
  end
  if not process then
    if watching then
      watching:cancel()
    end
    return select(2, fail(self, "start_failed", err))
  end
  host.log("info", "job.spawned", { pid = process.pid, program = self.message.program })
  self.process = process
  local ending, code, sentence = wait_for_program(self, process)
  watching:cancel()
  local ended = outcome_of_ending(ending)
  if code then
    ended = outcome.new(code, sentence, ended)
  end
  self.context.on_program_ended(self)
  return ended
end

local function save_artifact(self, artifact)
  local folder, name, err = layout.packed(self.experiment, artifact.tag)
  if not folder then
    return err == nil, err
  end
  local saved
  saved, err = self.store:save(artifact, folder, name, {
    mtime_floor = math.max(host.time.wall(), self.received + RESULT_AGE),
  })
  if folder ~= self.experiment then
    folder:close()
  end
  if not saved then
    return nil, errors.wrap(err, "artifact " .. artifact.tag)
  end
  return true
end

local function is_saved(artifact, ended)
  return artifact.mutable and artifact.key and artifact.tag ~= OUTPUT
    and (artifact.tag ~= RETVAL or outcome.ran(ended.code))
end

local function save_all(self, ended)
  local output
  for _, artifact in ipairs(self.message.artifacts) do
    if is_saved(artifact, ended) then
      local saved, err = save_artifact(self, artifact)
      if not saved and ended.code ~= "store_failed" then
        ended = outcome.of_error("store_failed", err)
      end
    elseif artifact.tag == OUTPUT and artifact.mutable and artifact.key then
      output = artifact
    end
  end
  local entry = self.experiment:stat(self.output_name or OUTPUT)
  local last = entry and entry.size and entry.size > 0
    and self.experiment:read_at(self.output_name or OUTPUT, entry.size - 1, 1)
  local line_end = last and last ~= "\n" and "\n" or ""
  append_output(self, line_end
    .. outcome.verdict(ended, self.attempt, self.context.options["job.attempts"]) .. "\n")
  if output then
    local saved, err = save_artifact(self, output)
    if not saved and ended.code ~= "store_failed" then
      ended = outcome.of_error("store_failed", err)
    end
  end
  return ended
end

--- Step, trusted and idempotent: the results, then the verdict line, then `output`. Also after a failure, a stop or a
--- time-out: it can not be cancelled.
---@param ended outcome
---@return outcome the same, or store_failed
function Job:save(ended)
  if self.saved or not self.experiment or not self.store then
    return ended
  end
  self.saving = true
  ended = host.task.shield(SAVE_LIMIT, save_all, self, ended)
  self.saved = true
  host.log("info", "job.saved", { outcome = ended.code })
  return ended
end

local function remove_folder(self)
  local removed, err
  for _ = 1, REMOVE_TRIES do
    removed, err = self.context.jobs:remove_tree(tostring(self.id))
    if removed or not host.time.sleep(REMOVE_WAIT) then
      break
    end
  end
  if not removed then
    host.log("warning", "cleanup.failed", { error = tostring(err) })
  end
end

--- Lets go of the store and takes the job's folder away. Waits; what can not be removed is logged and left to the end
--- of this run.
function Job:close()
  for _, part in ipairs({ "store", "experiment", "directory" }) do
    if self[part] then
      self[part]:close()
    end
  end
  remove_folder(self)
end

return job
