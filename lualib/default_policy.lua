--- The built-in policies: what decides when a policy file raised an error. Deliberately the plainest answers, and
-- independent of the files in policies/, which an operator may have edited.

local fit = require("fit")

local m = {}

-- Outcomes after which the same job may well succeed: it was not the program that failed.
local TRY_AGAIN = {
  fetch_failed = true,
  environment_failed = true,
  store_failed = true,
  start_failed = true,
  script_failed = true,
  runner_lost = true,
}
local HAND_BACK = { interrupted = true, drained = true, lost = true }
local SET_ASIDE = { refused = true, never_fits = true }

local FIRST_DELAY = 10 * 1000
local LONGEST_DELAY = 10 * 60 * 1000

function m.intake(_, node)
  return { waiting = math.max(4, 2 * node.total.cores), priority = 0 }
end

function m.rank(job)
  return job.added
end

function m.place(job, free)
  return fit.place(job.needs, free)
end

function m.plan(waiting, node, place)
  local answer = {}
  local free = fit.copy(node.free)
  for _, job in ipairs(waiting) do
    local placement = place(job, free)
    if placement then
      answer[#answer + 1] = { start = job, placement = placement }
      fit.take(free, placement)
    end
  end
  return answer
end

function m.retry(job, outcome)
  if HAND_BACK[outcome.code] then
    return { action = "hand_back" }
  elseif SET_ASIDE[outcome.code] then
    return { action = "set_aside" }
  elseif not TRY_AGAIN[outcome.code] then
    return { action = "done" }
  elseif not outcome.retryable then
    return { action = "set_aside" }
  end
  local delay = FIRST_DELAY
  for _ = 1, math.min(job.failures, 10) do
    delay = math.min(2 * delay, LONGEST_DELAY)
  end
  return { action = "again", delay = delay }
end

return m
