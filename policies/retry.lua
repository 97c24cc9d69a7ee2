--- An attempt is over: is the job done, tried again later, set aside for a person, or handed back for another host?
--
-- What the program did itself is a result, also when it failed. What failed around it is tried again, each time later;
-- the host sets it aside when `job.attempts` are used up.

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

-- 10 s, 20 s, 40 s … up to 10 min.
local function delay_after(failures)
  local delay = 10 * 1000
  for _ = 1, math.min(failures, 10) do
    delay = math.min(2 * delay, 10 * 60 * 1000)
  end
  return delay
end

local function retry(job, outcome)
  if HAND_BACK[outcome.code] then
    return { action = "hand_back" }
  elseif SET_ASIDE[outcome.code] then
    return { action = "set_aside" }
  elseif not TRY_AGAIN[outcome.code] then
    return { action = "done" }
  elseif not outcome.retryable then
    return { action = "set_aside" }
  end
  return { action = "again", delay = delay_after(job.failures) }
end

return {
  api = 1,
  retry = retry,
  examples = {
    {
      says = "a program that failed is done: its result is that it failed",
      given = { { failures = 0 }, { code = "failed", exit = 1, retryable = false } },
      gives = { action = "done" },
    },
    {
      says = "files that could not be fetched are tried again after ten seconds",
      given = { { failures = 0 }, { code = "fetch_failed", retryable = true } },
      gives = { action = "again", delay = 10000 },
    },
    {
      says = "and later after a failure before",
      given = { { failures = 2 }, { code = "fetch_failed", retryable = true } },
      gives = { action = "again", delay = 40000 },
    },
    {
      says = "never later than after ten minutes",
      given = { { failures = 50 }, { code = "store_failed", retryable = true } },
      gives = { action = "again", delay = 600000 },
    },
    {
      says = "a file that is not there does not come by waiting",
      given = { { failures = 0 }, { code = "fetch_failed", retryable = false } },
      gives = { action = "set_aside" },
    },
    {
      says = "a job that a drain interrupted belongs to whoever takes it next",
      given = { { failures = 0 }, { code = "interrupted", retryable = false } },
      gives = { action = "hand_back" },
    },
  },
}
