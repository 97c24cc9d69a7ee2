-- A small host for whole jobs: a folder queue, a folder store, the folder of a run, and an interpreter that is a shell.
--
-- The "Python" of this world is a script in world/bin that answers the probe, makes and fills environments in no time,
-- and runs programs with /bin/sh: so a job's program is shell text. PATH is this folder and the system's own.
local folder_queue = require "queue.folder"
local folder_submit = require "queue.folder_submit"
local job_task = require "job_task"
local json = require "json"
local run_folder = require "run_folder"
local settle = require "settle"
local spec_folder = require "spec_folder"
local submission = require "studioml.submission"

local m = {}

local World = {}
World.__index = World

local QUEUE = "q"

-- What `python3` is here. Requirements named broken… can not be installed; builds are counted in <world>/builds.
local INTERPRETER = [[
#!/bin/sh
case "$1 $2" in
  "-c "*) printf '3.11.7\n%%s\n' '%s/bin/python3' ;;
  "-m venv") mkdir -p "$3/bin" && cp '%s/bin/python3' "$3/bin/python" ;;
  "-m pip")
    echo built >> '%s/builds'
    case "$*" in *broken*) echo "no package broken" >&2; exit 1 ;; esac ;;
  *) exec /bin/sh "$@" ;;
esac
]]

-- Pauses are there so that others may change something meanwhile: here nobody else does.
local real_sleep = host.time.sleep
local function short_sleep(ms)
  return real_sleep(math.min(ms, 5))
end

local function make_interpreter(place)
  place:write("bin/python3", INTERPRETER:format(place:at(), place:at(), place:at()))
  assert(host.file.root:chmod(place:at("bin/python3"), "0755"))
end

--- Opens a world. Call close() when done.
---@param options table|nil options of the host, by their dotted names
function m.open(options)
  local place = spec_folder.make()
  make_interpreter(place)
  local self = setmetatable({
    place = place, path = os.getenv("PATH"), sent = 0, schedulers = {}, deliveries = {},
  }, World)
  set_environment("PATH", place:at("bin") .. ":/usr/bin:/bin")
  host.time.sleep = short_sleep -- luacheck: ignore 122
  self.options = {
    ["job.default-cpus"] = 1, ["job.default-ram"] = 1e9, ["job.default-hdd"] = 1e9, ["job.max-duration"] = 0,
    ["job.attempts"] = 3, ["job.grace"] = 1000, ["job.inherit"] = { "PATH" }, ["limit.idle-duration"] = 0,
    ["message.max-size"] = 1024 * 1024,
  }
  for name, value in pairs(options or {}) do
    self.options[name] = value
  end
  self.parts = assert(run_folder.make(place:at("working")))
  place:make_path("queue/" .. QUEUE)
  self.scripts = assert(host.bundle.open("scripts"))
  self.backend = assert(self:open_backend())
  self.context = {
    options = self.options, jobs = self.parts.jobs, environments = self.parts.environments, run = self.parts.run,
    scripts = { handle_job = self.scripts.handle_job }, name = "spec-host", on_program_ended = function() end,
  }
  return self
end

function World:open_backend()
  return folder_queue.open({
    root = self.place:at("queue"), run = self.parts.run, max_message_size = self.options["message.max-size"],
  })
end

--- Submits an experiment as `moonrunner submit` does: its program is shell text.
---@param program string
---@param changes table|nil of the request of studioml.submission
---@param queue string|nil "q" when absent
---@return string key
function World:submit(program, changes, queue)
  self.sent = self.sent + 1
  local request = {
    key = "e" .. self.sent, folder = self.place:at("project"), program = "job.py", arguments = {},
    store = self.place:at("store"), needs = { cpus = 1, gpus = 0, ram = "1m", hdd = "1g" }, captures = {},
    requirements = {}, python_version = "3",
  }
  for name, value in pairs(changes or {}) do
    request[name] = value
  end
  self.place:write("project/job.py", program)
  local made = assert(submission.make(request))
  assert(submission.write_document(made))
  made.artifacts:close()
  made.database:close()
  assert(folder_submit.submit(self.place:at("queue"), queue or QUEUE, made.message))
  return request.key
end

--- Claims and reads the next message: the job, or nil, why it is refused, and the delivery.
function World:take()
  self.queue = self.queue or assert(self.backend:open(QUEUE))
  local delivery = assert(self.queue:claim())
  local job, err = job_task.understand(delivery, self.context)
  if job then
    job.placement = { cores = 1, mem = 1, disk = 1, gpus = {} }
    self.deliveries[job] = delivery
  end
  return job, err, delivery
end

--- A whole runner over this world, with the decision core and the shipped policies. It ends when it is drained, or
--- after `limit.idle-duration`.
function World:runner()
  local scheduler = assert(host.scheduler.open({ lualib = "lualib", policies = "policies", shipped = "policies" }))
  self.schedulers[#self.schedulers + 1] = scheduler
  return require("runner").new({
    options = self.options, scheduler = scheduler, backend = self.backend, scripts = self.context.scripts,
    jobs = self.parts.jobs, environments = self.parts.environments, run = self.parts.run, trace = function() end,
  })
end

--- What the shipped policies say to this outcome, as the decision core says it.
---@return table answer for settle.answer
function World:decide(job) -- luacheck: no self
  local ended = job.outcome
  local action = require("default_policy").retry({ failures = job.failures }, ended).action
  local handed_back = action == "hand_back"
  local failure = require("outcome").is_failure(ended.code)
  return {
    effect = action, code = ended.code, reason = ended.sentence, delay = 0,
    attempt = handed_back and job.attempt - 1 or job.attempt, failures = job.failures + (failure and 1 or 0),
  }
end

--- Answers a job as the decision core would.
---@return string|nil how
function World:answer(job)
  return settle.answer(job, self.deliveries[job], self:decide(job))
end

--- Runs the next job from its claim to its answer.
---@return string|nil how it was answered
---@return table job
function World:run_next()
  local job = assert(self:take())
  job_task.run(job)
  return self:answer(job), job
end

--- Where messages are now: {ready = n, claimed = n, aside = n}.
function World:messages()
  local found = { ready = 0, claimed = 0, aside = 0 }
  for _, file in ipairs(self.place:files("queue")) do
    if file:find("^" .. QUEUE .. "/") then
      found.ready = found.ready + 1
    elseif file:find("/claims/", 1, true) and not file:find("/%.life$") then
      found.claimed = found.claimed + 1
    elseif file:find("/set-aside/", 1, true) and not file:find("%.reason$") then
      found.aside = found.aside + 1
    end
  end
  return found
end

--- The document, decoded.
function World:document(key)
  return json.decode(assert(self.place:read("store/studioml-meta/experiments/" .. key)))
end

--- The text of the file `tag` in its stored archive; nil when it was never stored.
function World:stored(key, tag)
  local archive = ("store/storage/experiments/%s/%s.tar"):format(key, tag)
  if not self.place:stat(archive) then
    return nil
  end
  assert(host.archive.unpack({
    from_dir = host.file.root, from = self.place:at(archive), to_dir = host.file.root, to = self.place:at("unpacked"),
  }))
  return self.place:read("unpacked") or self.place:read("unpacked/" .. tag)
end

--- Files that a job must not leave: in the folder of the run, in the store and beside messages. In order.
function World:leftovers()
  local found = {}
  for _, file in ipairs(self.place:files("working")) do
    if not file:find("^runs/[^/]*/lock$") and not file:find("^environments/") and not file:find("^traces/") then
      found[#found + 1] = file
    end
  end
  for _, file in ipairs(self.place:files("working/environments")) do
    if file:find("^probe") then
      found[#found + 1] = file
    end
  end
  for _, file in ipairs(self.place:files("store")) do
    local known = file:find("^storage/blobstore/%x+%.tar$") or file:find("^storage/experiments/[^/]+/[%w_]+%.tar$")
      or file:find("^studioml%-meta/[%w/]*experiments/[%w_-]+$") or file == "studioml-meta/.moonrunner/lock"
    if not known then
      found[#found + 1] = file
    end
  end
  return found
end

--- Closes the world and removes it.
function World:close()
  if self.queue then
    self.queue:close()
  end
  self.backend:close()
  for _, scheduler in ipairs(self.schedulers) do
    scheduler:close()
  end
  run_folder.remove(self.parts)
  for _, name in ipairs({ "working", "jobs", "environments", "traces" }) do
    self.parts[name]:close()
  end
  host.time.sleep = real_sleep -- luacheck: ignore 122
  set_environment("PATH", self.path)
  self.place:remove()
end

return m
