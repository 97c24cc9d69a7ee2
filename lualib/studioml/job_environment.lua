-- The environment variables of a job: built from the message, never inherited but for the names in `job.inherit`.
local layout = require "studioml.layout"

local job_environment = {}

-- `PATH: "%PATH%:./bin"`, an idiom of the Go runner's users: replaced from what the job has anyway, so that a message
-- can not read a variable of the host that it does not get.
local function expand(value, environment)
  return (value:gsub("%%([%a_][%w_]*)%%", environment))
end

local function add_message_variables(environment, variables)
  local names = {}
  for name in pairs(variables) do
    names[#names + 1] = name
  end
  table.sort(names)
  local before = {}
  for name, value in pairs(environment) do
    before[name] = value
  end
  for _, name in ipairs(names) do
    environment[name] = expand(variables[name], before)
  end
end

--- The variables for one job.
---@param job table a validated message
---@param folder string the job's folder
---@param options {inherit: string[], cores: integer, marks: table<string, string>, python_folder: string|nil}
--- python_folder: the virtual environment, whose programs come first
---@return table<string, string>
function job_environment.build(job, folder, options)
  local environment = { PATH = "/usr/local/bin:/usr/bin:/bin" }
  for _, name in ipairs(options.inherit) do
    environment[name] = host.environment.get(name) or environment[name]
  end
  local threads = tostring(math.max(1, options.cores))
  for _, name in ipairs({ "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS" }) do
    environment[name] = threads
  end
  if options.python_folder then
    environment.PATH = options.python_folder .. "/bin:" .. environment.PATH
    environment.VIRTUAL_ENV = options.python_folder
  end
  add_message_variables(environment, job.environment)
  -- What follows is the runner's word, whatever the message says.
  environment.HOME, environment.TMPDIR, environment.STUDIOML_HOME = folder, folder, folder
  environment.PYTHONUNBUFFERED = "TRUE"
  environment.STUDIOML_EXPERIMENT = job.key
  environment.STUDIOML_ARTIFACT_MAPPING = layout.mapping_file(folder, job.key)
  environment.CUDA_VISIBLE_DEVICES, environment.NVIDIA_VISIBLE_DEVICES = "-1", "-1"
  for name, value in pairs(options.marks) do
    environment[name] = value
  end
  return environment
end

return job_environment
