-- Follows an experiment from the outside: prints its output as it comes, and tells how it ended.
--
-- The document says which run has it; while it runs, its output is read where it is written (on the same machine), and
-- at the end what is missing is read from the stored archive.
local document = require "studioml.document"
local errors = require "errors"

local follow = {}

local LOOK_EVERY = 250    -- ms
local HINT_AFTER = 5000   -- ms of waiting before a hint that nobody may be serving
local CHUNK = 256 * 1024

local TOOK_TOO_LONG, DID_NOT_RUN = 124, 125

local function say(text)
  host.console.status("")
  host.console.write_error(text .. "\n")
end

-- On a terminal: what we wait for, and for how long already.
local function show_waiting(state, what)
  host.console.status(("%s … %d s"):format(what, (host.time.monotonic() - state.started) / 1000))
end

--- The exit status of `submit --wait` for an ended document's member `moonrunner`: never 0 but for a success.
---@return integer
function follow.exit_status(ended)
  if ended.outcome == "over_time" then
    return TOOK_TOO_LONG
  elseif type(ended.signal) == "number" then
    return 128 + ended.signal
  elseif type(ended.exit) == "number" and (ended.exit ~= 0 or ended.outcome == "succeeded") then
    return ended.exit
  end
  return DID_NOT_RUN
end

-- Prints the file from where we were; returns false when it is not there.
local function print_new(state, directory, name)
  local entry = directory:stat(name)
  if entry and entry.kind == "directory" then
    name = name .. "/output"
    entry = directory:stat(name)
  end
  if not entry then
    return false
  end
  while state.printed < entry.size do
    local text = directory:read_at(name, state.printed, CHUNK)
    if not text or text == "" then
      break
    end
    host.console.status("")
    host.console.write(text)
    state.printed = state.printed + #text
  end
  return true
end

-- The folder of the running job, on this machine: <working-dir>/runs/<run>/jobs/<n>/experiments/<key>.
local function find_running(made, run)
  local jobs = host.file.root:open(("%s/runs/%s/jobs"):format(host.options["working-dir"], run))
  for _, entry in ipairs(jobs and jobs:list() or {}) do
    local path = ("%s/experiments/%s"):format(entry.name, made.key)
    if jobs:stat(path) then
      return jobs:open(path)
    end
  end
end

local function print_stored(state, made)
  local scratch = "follow-" .. host.random.hex(16)
  local folder = host.environment.get("TMPDIR") or "/tmp"
  local directory = host.file.root:open(folder .. "/.")
  local unpacked, err = host.archive.unpack({
    from_dir = made.artifacts, from = ("experiments/%s/output.tar"):format(made.key), to_dir = directory, to = scratch,
  })
  if unpacked then
    print_new(state, directory, scratch)
  elseif not errors.is(err, "file.not_found") then
    say("moonrunner submit: the stored output can not be read: " .. err.message)
  end
  directory:remove_tree(scratch)
end

-- Says once what the document says, whenever that changes.
local function tell(state, text)
  if text and state.told ~= text then
    state.told = text
    say(text)
  end
end

local function look(state, made)
  local text, err = made.database:read("experiments/" .. made.key, 16 * 1024 * 1024)
  local decoded = text and document.get(text)
  if not decoded then
    return nil, err and errors.is(err, "file.not_found") and err or nil
  end
  local ours = type(decoded.moonrunner) == "table" and decoded.moonrunner or {}
  if ours.state == "ended" or ours.set_aside then
    return ours
  elseif ours.state == "running" then
    tell(state, ("running on %s (attempt %d)"):format(ours.runner, ours.attempt))
    state.running = state.running or find_running(made, ours.run)
    if state.running and not print_new(state, state.running, "output") then
      state.running = nil
    end
    if state.printed == 0 then
      show_waiting(state, "preparing")
    end
  elseif ours.state == "waiting" then
    tell(state, ("waiting for attempt %d: %s"):format(ours.attempt + 1, ours.sentence or "tried again"))
    state.running = nil
  else
    if host.time.monotonic() - state.started > HINT_AFTER then
      tell(state, ("waiting in %s; is a runner serving it? (moonrunner run)"):format(host.options["queue.folder"]))
    end
    show_waiting(state, "waiting for a runner")
  end
end

--- Follows an experiment to its end. Waits.
---@param made table of studioml.submission
---@return integer exit code
function follow.to_end(made)
  local state = { printed = 0, started = host.time.monotonic() }
  while true do
    local ended, err = look(state, made)
    if ended then
      host.console.status("")
      print_stored(state, made)
      if state.printed == 0 then
        say(("%s: %s"):format(ended.outcome or "ended", ended.sentence or "no more is known"))
      end
      return follow.exit_status(ended)
    elseif err then
      say("moonrunner submit: the experiment's document was deleted")
      return DID_NOT_RUN
    end
    host.time.sleep(LOOK_EVERY)
  end
end

return follow
