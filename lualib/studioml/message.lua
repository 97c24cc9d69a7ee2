-- The StudioML client's message, validated into a job: every field that a runner uses, and nothing that it must not.
--
-- The contract is the client's (two members, `experiment` and `config`); what is wrong becomes one error,
-- `message.invalid`, that names each field, what it was and what it should be. Names from a message end up as names of
-- folders and as arguments, never as shell text.
local errors = require "errors"
local json = require "json"
local schema = require "schema"
local shell_words = require "shell_words"

local message = {}

local MAX_DEPTH = 64
local MAX_NAME = 200 -- bytes; file systems allow 255, and a suffix such as `.tar` must fit
local SUFFIX_OF_ARCHIVE = "%.tar%.?%w*$"

-- A key or a tag becomes one folder's name.
local function check_name(text)
  if text == "" or #text > MAX_NAME then
    return ("a name of 1 to %d bytes"):format(MAX_NAME)
  elseif text:find("[/%c\127]") or text == "." or text == ".." then
    return "a name without '/', '..' or control characters"
  end
end

-- A relative path that stays below where it starts.
local function check_relative_path(text)
  if text == "" or text:sub(1, 1) == "/" or text:find("[%c\127]") or ("/" .. text .. "/"):find("/../", 1, true) then
    return "a relative path without '..' or control characters"
  end
end

local function check_program(text)
  return text ~= "-m" and check_relative_path(text) or nil
end

local function read_arguments(experiment)
  local arguments = {}
  for index, quoted in ipairs(experiment:texts("args")) do
    local words, problem = shell_words.split(quoted)
    if not words then
      experiment.problems[#experiment.problems + 1] =
        ("experiment.args[%d] is %s, should be a shell-quoted word: %s"):format(index, schema.describe(quoted), problem)
      return arguments
    end
    for _, word in ipairs(words) do
      arguments[#arguments + 1] = word
    end
  end
  return arguments
end

-- `python -m` takes its module from the first argument; a program that looks like an option must not become one.
local function read_program(experiment)
  if experiment.value.filename == json.null or experiment.value.filename == nil then
    return experiment:refuse("filename", "the name of a Python file (jobs that are only a container are not supported)")
  end
  local program = experiment:text("filename", { required = true, check = check_program })
  if program and program ~= "-m" and program:sub(1, 1) == "-" then
    return "./" .. program
  end
  return program
end

local function read_needs(experiment, defaults)
  local needs = experiment:object("resources_needed")
  local size = "a size such as \"3g\" or a number of bytes"
  local function bytes(name, default)
    return needs:parsed(name, { default = default, should_be = size }, host.quantity.parse_bytes)
  end
  local gpu_memory = needs.value.gpuMem == nil and "gpumem" or "gpuMem"
  return {
    cores = needs:count("cpus", { default = defaults.cores }),
    mem = bytes("ram", defaults.mem),
    disk = bytes("hdd", defaults.disk),
    gpus = needs:count("gpus", { default = 0 }),
    gpu_mem = bytes(gpu_memory, 0),
  }
end

local function read_artifact(artifacts, tag)
  local artifact = artifacts:object(tag)
  local key = artifact:text("key", { check = check_relative_path })
  local read = {
    tag = tag,
    key = key,
    bucket = artifact:text("bucket", { check = check_name }),
    qualified = artifact:text("qualified"),
    url = artifact:text("url"),
    mutable = artifact:boolean("mutable", { default = false }),
    -- The client leaves `unpack` null for artifacts that it reuses: the key's suffix tells.
    unpack = artifact:boolean("unpack", { default = key ~= nil and key:find(SUFFIX_OF_ARCHIVE) ~= nil }),
  }
  if not (read.key or read.qualified or read.url) and not artifacts:problem() then
    artifacts:refuse(tag, "an object with a key, qualified or url")
  end
  return read
end

local function read_artifacts(experiment)
  local artifacts, list = experiment:object("artifacts"), {}
  for _, tag in ipairs(artifacts:names()) do
    if check_name(tag) then
      artifacts.problems[#artifacts.problems + 1] =
        ("experiment.artifacts has the tag %s, should be %s"):format(schema.describe(tag), check_name(tag))
    else
      list[#list + 1] = read_artifact(artifacts, tag)
    end
  end
  return list
end

local function read_environment(config)
  local variables, environment = config:object("env"), {}
  for _, name in ipairs(variables:names()) do
    local value = variables.value[name]
    if not name:find("^[%a_][%w_]*$") then
      variables.problems[#variables.problems + 1] =
        ("config.env has the name %s, should be letters, digits and _"):format(schema.describe(name))
    elseif type(value) == "table" or (type(value) == "string" and value:find("%z")) then
      variables:refuse(name, "a string without a NUL byte, a number, true or false")
    elseif value ~= json.null then
      environment[name] = type(value) == "string" and value or schema.describe(value)
    end
  end
  return environment
end

-- Where artifacts or documents live; which kinds are supported is the store's business, not the message's.
local function read_place(config, name)
  local place = config:object(name)
  return {
    type = place:text("type", { default = "local" }),
    endpoint = place:text("endpoint"),
    bucket = place:text("bucket", { check = check_name }),
  }
end

-- The client allows a lifetime below 0 (already over); of a program's time only more than 0 makes sense.
local function read_duration(reader, name, smallest)
  return reader:parsed(name, { default = false, should_be = "a duration such as \"5m\" or \"1h30m\"" },
    function(value)
      local duration = host.quantity.parse_duration(value)
      return duration and duration >= smallest and duration or nil
    end)
end

local function read_version(experiment)
  return experiment:parsed("pythonver", { default = false, should_be = "a version such as \"3.11\"" },
    function(value)
      local text = type(value) == "number" and ("%.14g"):format(value) or value
      return text:match("^%d[%d.]*$")
    end)
end

local function read_job(experiment, config, defaults)
  local added = experiment:number("time_added", { default = false, should_be = "seconds since 1970" })
  return {
    key = experiment:text("key", { required = true, check = check_name }),
    program = read_program(experiment),
    arguments = read_arguments(experiment),
    requirements = experiment:texts("pythonenv"),
    python_version = read_version(experiment),
    project = experiment:text("project", { default = false }),
    owner = experiment:text("owner", { default = false }),
    needs = read_needs(experiment, defaults),
    max_duration = read_duration(experiment, "max_duration", 1),
    lifetime = read_duration(config, "experimentLifetime", -math.huge),
    -- The reference ignores times at the very start of 1970: some senders write 0 for "unknown".
    added = added and added > 10 and math.floor(added * 1000) or false,
    artifacts = read_artifacts(experiment),
    environment = read_environment(config),
    extra_requirements = config:texts("pip"),
    database = read_place(config, "database"),
    storage = read_place(config, "storage"),
  }
end

--- Validates a message into a job.
---@param text string the message's body
---@param defaults {cores: integer, mem: integer, disk: integer} needs of a job that names none; sizes in bytes
---@return table|nil job key program arguments requirements python_version project owner needs{cores mem disk gpus
--- gpu_mem} max_duration lifetime added artifacts[] environment extra_requirements database storage; times in ms,
--- sizes in bytes, false when unknown
---@return table|nil err message.invalid, or what else went wrong (retryable)
function message.parse(text, defaults)
  local decoded, problem = json.decode(text, MAX_DEPTH)
  if decoded == nil and problem.retryable then
    return nil, problem -- the host's trouble (no memory), not the message's
  elseif decoded == nil then
    return nil, errors.new("message.invalid", "the message is not valid JSON: " .. problem.message)
  end
  if type(decoded) ~= "table" or decoded[1] ~= nil then
    return nil, errors.new("message.invalid",
      ("the message is %s, should be an object with experiment and config"):format(schema.describe(decoded)))
  end
  local outermost = schema.reader(decoded, "")
  local experiment = outermost:object("experiment", { required = true })
  local config = outermost:object("config")
  if outermost:problem() then
    return nil, errors.new("message.invalid", outermost:problem())
  end
  local job = read_job(experiment, config, defaults)
  if outermost:problem() then
    return nil, errors.new("message.invalid", outermost:problem())
  end
  return job
end

return message
