--- Asks the policies, and lets no answer through that is not checked field by field. A nonsense entry costs that entry;
-- an error, or an answer that is nonsense as a whole, costs the decision: the built-in policy decides, and a note says
-- which policy failed and how. What comes out are fresh tables: nothing that a policy keeps is shared with the fold.

local default_policy = require("default_policy")
local fit = require("fit")

local m = {}

m.NAMES = { "intake", "rank", "place", "plan", "retry" }

local API = 1
local MOST_WAITING = 10000
local HIGHEST_PRIORITY = 2 ^ 31 - 1
local LONGEST_DELAY = 24 * 60 * 60 * 1000
local LONGEST_TEXT = 400
local ACTIONS = { done = true, again = true, set_aside = true, hand_back = true }

local guard = {}
guard.__index = guard

-- A value in a note: addresses of tables and functions would make two equal traces differ.
local function short(value)
  local kind = type(value)
  if kind == "string" or kind == "number" or kind == "boolean" or kind == "nil" then
    return string.sub(tostring(value), 1, LONGEST_TEXT)
  end
  return "a " .. kind
end

-- An error object of a policy is never converted by its own metamethods.
local function error_text(raised)
  return type(raised) == "string" and short(raised) or "raised a " .. type(raised)
end

local function is_finite(value)
  return type(value) == "number" and value == value and value > -math.huge and value < math.huge
end

--- Has this module of a policy file the right shape?
---@param name string
---@param exports any what the file returned
---@return boolean|nil ok
---@return string|nil problem
function m.check_exports(name, exports)
  if type(exports) ~= "table" then
    return nil, "it returns a " .. type(exports) .. ", not a table {api = 1, " .. name .. " = function}"
  elseif exports.api ~= API then
    return nil, "api is " .. short(exports.api) .. "; this host knows " .. API
  elseif type(exports[name]) ~= "function" then
    return nil, "the function `" .. name .. "` is missing"
  end
  return true
end

--- A guard around five policies.
---@param policies table<string, table> name -> exports of its file; a missing one is the built-in
---@return table guard `guard.notes` collects the notes until somebody takes them
function m.new(policies)
  local functions = {}
  for _, name in ipairs(m.NAMES) do
    if policies[name] ~= nil then
      local ok, problem = m.check_exports(name, policies[name])
      if not ok then
        error("policy " .. name .. ": " .. problem, 0)
      end
      functions[name] = policies[name][name]
    else
      functions[name] = default_policy[name]
    end
  end
  return setmetatable({ functions = functions, notes = {} }, guard)
end

function guard:note(policy, job_id, text)
  self.notes[#self.notes + 1] = { note = "policy", policy = policy, job = job_id or false, error = text }
end

-- Calls a policy and checks its answer; `check(answers…)` gives the clean answer, or nil and what is wrong with it.
local function ask(self, policy, job_id, check, ...)
  local ok, first, second = pcall(self.functions[policy], ...)
  if not ok then
    self:note(policy, job_id, error_text(first))
    return nil
  end
  local answer, problem = check(first, second)
  if answer == nil then
    self:note(policy, job_id, problem)
  end
  return answer
end

local function check_intake(answer)
  if type(answer) ~= "table" then
    return nil, "intake gives a table, not a " .. type(answer)
  elseif not fit.is_count(answer.waiting) or answer.waiting > MOST_WAITING then
    return nil, "waiting is not a whole number from 0 to " .. MOST_WAITING .. ": " .. short(answer.waiting)
  end
  local priority = answer.priority or 0
  if not is_finite(priority) or priority % 1 ~= 0 or math.abs(priority) > HIGHEST_PRIORITY then
    return nil, "priority is not a whole number of 32 bits: " .. short(priority)
  end
  return { waiting = answer.waiting, priority = priority }
end

---@param queue table view
---@param node table view
---@return table `{waiting = n, priority = p}`
function guard:intake(queue, node)
  return ask(self, "intake", nil, check_intake, queue, node) or check_intake(default_policy.intake(queue, node))
end

local function check_rank(answer)
  if not is_finite(answer) then
    return nil, "rank gives a finite number, not " .. short(answer)
  end
  return answer
end

---@param job table view
---@param queue table view
---@param node table view
---@return number
function guard:rank(job, queue, node)
  return ask(self, "rank", job.id, check_rank, job, queue, node) or default_policy.rank(job)
end

-- A fresh placement with what the policy left out filled in from the job's needs.
local function complete_placement(answer, needs)
  local placement = {
    cores = answer.cores or needs.cores,
    mem = answer.mem or needs.mem,
    disk = answer.disk or needs.disk,
    gpus = {},
    gpu_mem = answer.gpu_mem or 0,
  }
  if type(answer.gpus) == "table" then
    for i, uuid in ipairs(answer.gpus) do
      placement.gpus[i] = uuid
    end
  end
  if #placement.gpus > 0 then
    placement.gpu_mem = answer.gpu_mem or needs.gpu_mem
  end
  return placement
end

-- The `place` that `plan` is given: totals are compared before the policy is asked, and a broken answer is replaced.
local function guarded_place(self, needs_of)
  return function(job, free)
    local needs = type(job) == "table" and needs_of[job.id]
    if not needs then
      return nil, { rule = "policy", need = 0, have = 0 }
    end
    local lack = fit.lacks(needs, free)
    if lack then
      return nil, lack
    end
    local reason
    local placement = ask(self, "place", job.id, function(answer, why)
      if answer == nil then
        reason = type(why) == "table" and why or { rule = "policy", need = 0, have = 0 }
        return false
      elseif type(answer) ~= "table" then
        return nil, "place gives a table or nil, not a " .. type(answer)
      end
      local complete = complete_placement(answer, needs)
      local ok, problem = fit.check(free, complete)
      return ok and complete or nil, problem
    end, job, free)
    if placement == false then
      return nil, reason
    elseif placement == nil then
      return fit.place(needs, free)
    end
    return placement
  end
end

-- One entry of a plan as the fold takes it, or nil and what is wrong with it. Takes a start out of `free`.
local function check_entry(entry, needs_of, named, free)
  if type(entry) ~= "table" then
    return nil, "an entry is a " .. type(entry)
  end
  local job = entry.start or entry.hand_back or entry.wait
  local id = type(job) == "table" and job.id
  if not (type(id) == "number" and needs_of[id]) then
    return nil, "an entry names no waiting job"
  elseif named[id] then
    return nil, "the job is named twice", id
  end
  named[id] = true
  local reason = type(entry.reason) == "string" and short(entry.reason) or nil
  if entry.start then
    if type(entry.placement) ~= "table" then
      return nil, "a start without a placement", id
    end
    local placement = complete_placement(entry.placement, needs_of[id])
    local ok, problem = fit.check(free, placement)
    if not ok then
      return nil, "placement: " .. problem, id
    end
    fit.take(free, placement)
    return { start = id, placement = placement }
  elseif entry.hand_back then
    return { hand_back = id, reason = reason or "the plan handed it back" }
  end
  return { wait = id, reason = reason }
end

local function check_plan(self, answer, needs_of, node)
  if type(answer) ~= "table" then
    return nil, "plan gives a list, not a " .. type(answer)
  end
  local free = fit.copy(node.free)
  local plan, named = {}, {}
  for _, entry in ipairs(answer) do
    local clean, problem, id = check_entry(entry, needs_of, named, free)
    if clean then
      plan[#plan + 1] = clean
    else
      self:note("plan", id, problem)
    end
  end
  if answer.wake ~= nil then
    if fit.is_count(answer.wake) and answer.wake > node.now then
      plan.wake = answer.wake
    else
      self:note("plan", nil, "wake is no point in time to come: " .. short(answer.wake))
    end
  end
  return plan
end

-- The plan works on tables of its own, so that a policy that changes them does not reach the check of its answer.
local function copy_node(node)
  local copy = {}
  for key, value in pairs(node) do
    copy[key] = value
  end
  copy.free = fit.copy(node.free)
  return copy
end

---@param waiting table[] views in order of rank
---@param node table view
---@param needs_of table<integer, table> job id -> the fold's own record of its needs
---@return table[] entries `{start = id, placement}`, `{hand_back = id, reason}` or `{wait = id, reason}`; `.wake = ms`
function guard:plan(waiting, node, needs_of)
  local place = guarded_place(self, needs_of)
  local function check(answer)
    return check_plan(self, answer, needs_of, node)
  end
  return ask(self, "plan", nil, check, waiting, copy_node(node), place)
    or check(default_policy.plan(waiting, copy_node(node), place))
end

local function check_retry(answer)
  if type(answer) ~= "table" or not ACTIONS[answer.action] then
    return nil, "retry gives {action = done, again, set_aside or hand_back}"
  end
  local delay = answer.delay or 0
  if not fit.is_count(delay) or delay > LONGEST_DELAY then
    return nil, "delay is not a whole number of milliseconds up to a day: " .. short(delay)
  end
  return { action = answer.action, delay = delay }
end

---@param job table view
---@param outcome table
---@return table `{action, delay}`
function guard:retry(job, outcome)
  return ask(self, "retry", job.id, check_retry, job, outcome) or check_retry(default_policy.retry(job, outcome))
end

--- The notes since the last call.
---@return table[]
function guard:take_notes()
  local notes = self.notes
  self.notes = {}
  return notes
end

return m
