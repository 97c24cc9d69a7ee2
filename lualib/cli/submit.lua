-- `moonrunner submit`: sends an experiment to a folder queue, with the StudioML client's own words for options.
local arguments = require "cli.arguments"
local errors = require "errors"
local folder_name = require "queue.folder_name"
local folder_submit = require "queue.folder_submit"
local follow = require "cli.follow"
local message = require "studioml.message"
local submission = require "studioml.submission"
local user_path = require "user_path"

local submit = {}

submit.summary = "send an experiment to a queue, and wait for it if asked to"

local USAGE = 64
local UNAVAILABLE = 69
local DEFAULT_QUEUE = "local_moonrunner"

local OPTIONS = {
  { name = "queue", value = "NAME", help = "The queue to send to, made when it is not there (local_moonrunner)." },
  { name = "experiment", value = "KEY", help = "The experiment's name; without it, one is made up." },
  { name = "cpus", value = "2", help = "CPU cores that the program needs (1)." },
  { name = "gpus", value = "1", help = "GPUs that it needs (0)." },
  { name = "gpuMem", value = "8g", help = "Memory that it needs on each GPU." },
  { name = "ram", value = "2g", help = "Memory that it needs." },
  { name = "hdd", value = "3g", help = "Disk space that it needs." },
  { name = "max-duration", value = "5m", help = "The program is stopped when it runs longer." },
  { name = "lifetime", value = "2h", help = "So long after it was sent it is not started any more, or stopped." },
  { name = "capture-once", value = "PATH:TAG", list = true,
    help = "One more file or folder for the program to read; it finds it as ../TAG. May be repeated." },
  { name = "requirements", value = "FILE",
    help = "The packages that it imports, one a line, as pip reads them (requirements.txt, if there is one)." },
  { name = "store", value = "DIR", help = "Where archives, documents and results are kept ($STUDIOML_HOME/store, "
    .. "else ~/.studioml/store)." },
  { name = "wait", help = "Print the program's output as it comes, and exit with its status." },
  { name = "help", help = "Print this." },
}

local HELP = [[
usage: moonrunner submit [OPTIONS] FILE.py [ARGUMENTS…]

Packs this folder (without what .studioml_ignore names) and sends FILE.py in it,
with its arguments, to a queue. A runner (moonrunner run) takes it from there.
Results are kept in the store, below storage/experiments/KEY/.

  moonrunner submit --wait train.py --epochs 3
  moonrunner submit --queue local_gpu --gpus 1 --ram 16g --max-duration 2h train.py
  moonrunner submit --capture-once ~/data/digits.npz:digits train.py

]]

local EXIT_HELP = [[

exit status with --wait: the program's; 128 + N when signal N ended it; 124 when
it ran too long; 125 when it never ran. Without: 0 sent; 64 wrong usage; 69 the
queue or the store can not be used.
]]

local function say(text)
  host.console.write_error(text .. "\n")
end

local function refuse(err)
  say("moonrunner submit: " .. err.message)
  return USAGE
end

local function studioml_home()
  return host.environment.get("STUDIOML_HOME") or (host.environment.get("HOME") or "") .. "/.studioml"
end

local function read_needs(values)
  local needs = { cpus = 1, gpus = 0 }
  for _, name in ipairs({ "cpus", "gpus" }) do
    local text = values[name]
    if text and not text:find("^%d+$") then
      return nil, errors.new("option.invalid", ("--%s %s: should be a whole number"):format(name, text))
    end
    needs[name] = text and tonumber(text) or needs[name]
  end
  for _, name in ipairs({ "gpuMem", "ram", "hdd" }) do
    local text = values[name]
    local bytes, err = host.quantity.parse_bytes(text or "0")
    if not bytes then
      return nil, errors.wrap(err, "--" .. name)
    end
    needs[name] = text
  end
  return needs
end

local function check_queue(queue)
  local refusal = folder_name.refusal(queue)
  if refusal then
    return nil, errors.new("option.invalid", ("the queue %s: %s"):format(folder_name.printable(queue), refusal))
  end
  return true
end

local function check_durations(values)
  for _, name in ipairs({ "max-duration", "lifetime" }) do
    if values[name] then
      local duration, err = host.quantity.parse_duration(values[name])
      if not duration then
        return nil, errors.wrap(err, "--" .. name)
      end
    end
  end
  return true
end

-- The lines of a requirements file; nil and an error when it was named and can not be read.
local function read_requirements(values, folder)
  local path, err = user_path.resolve(values.requirements or folder .. "/requirements.txt")
  local text
  if path then
    text, err = host.file.root:read(path, 1024 * 1024)
  end
  if not text then
    if not values.requirements and errors.is(err, "file.not_found") then
      return {}
    end
    return nil, errors.wrap(err, "--requirements")
  end
  local requirements = {}
  for line in text:gmatch("[^\r\n]+") do
    local requirement = line:gsub("^%s*#.*", ""):gsub("%s+#.*", ""):match("^%s*(.-)%s*$")
    if requirement ~= "" then
      requirements[#requirements + 1] = requirement
    end
  end
  return requirements
end

local function check_program(folder, program)
  if not program then
    return nil, errors.new("option.invalid",
      "which program? moonrunner submit [OPTIONS] FILE.py [ARGUMENTS…]; --help tells more")
  end
  local entry = program:sub(1, 1) ~= "/" and host.file.root:stat(folder .. "/" .. program)
  if not entry then
    return nil, errors.new("option.invalid",
      ("%s: no such file in this folder (%s); the folder is what is sent"):format(program, folder))
  end
  return true
end

local function read_request(values, words)
  local folder = host.environment.working_folder()
  local fine, err = check_program(folder, words[1])
  local needs, requirements
  if fine then
    fine, err = check_queue(values.queue or DEFAULT_QUEUE)
  end
  if fine then
    fine, err = check_durations(values)
  end
  if fine then
    needs, err = read_needs(values)
  end
  if needs then
    requirements, err = read_requirements(values, folder)
  end
  local store
  if requirements then
    store, err = user_path.resolve(values.store or studioml_home() .. "/store")
  end
  if not store then
    return nil, err
  end
  return {
    key = values.experiment or ("%d_%s"):format(host.time.wall() / 1000, host.random.uuid()),
    folder = folder, program = words[1], arguments = { unpack(words, 2) },
    store = store,
    needs = needs, max_duration = values["max-duration"], lifetime = values.lifetime,
    captures = values["capture-once"] or {}, requirements = requirements, python_version = "3",
  }
end

local function send(request, queue)
  host.console.status("packing " .. request.folder .. " …")
  local made, err = submission.make(request)
  host.console.status("")
  if not made then
    return nil, err
  end
  local accepted
  accepted, err = message.parse(made.message, { cores = 0, mem = 0, disk = 0 })
  if not accepted then
    return nil, errors.new("option.invalid", "a runner would refuse it: " .. err.message)
  end
  local written
  written, err = submission.write_document(made)
  if not written and errors.is(err, "file.exists") then
    err = errors.new("option.invalid", ("the experiment %s exists already in %s; choose another --experiment")
      :format(request.key, request.store))
  end
  if not written then
    return nil, err
  end
  local sent
  sent, err = folder_submit.submit(host.options["queue.folder"], queue, made.message)
  if not sent then
    return nil, err
  end
  say(("packed %s (%s, %d entries)"):format(request.folder, host.quantity.format_bytes(made.packed.bytes_packed),
    made.packed.entries))
  say(("sent %s to the queue %s"):format(request.key, queue))
  return made
end

--- Submits. Waits.
---@param words string[] the command line after `submit`
---@return integer exit code
function submit.main(words)
  local values, rest = arguments.parse(OPTIONS, words)
  if not values then
    return refuse(rest)
  elseif values.help then
    host.console.write(HELP .. arguments.help(OPTIONS) .. EXIT_HELP)
    return 0
  end
  local request, err = read_request(values, rest)
  if not request then
    return refuse(err)
  end
  local made
  made, err = send(request, values.queue or DEFAULT_QUEUE)
  if not made then
    say("moonrunner submit: " .. err.message)
    return errors.is(err, "option.invalid") and USAGE or UNAVAILABLE
  end
  if not values.wait then
    say(("results will be in %s/experiments/%s"):format(made.artifacts:path(), made.key))
    return 0
  end
  return follow.to_end(made)
end

return submit
