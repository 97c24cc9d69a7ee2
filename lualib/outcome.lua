-- How an attempt ended: a code from the closed list of the design (section 6), and a sentence.
local outcome = {}

-- failure: does the attempt count against `job.attempts`?  retryable: may another attempt help?
-- ran: did the program run, so that what it left is a result?
local CODES = {
  succeeded = { ran = true },
  failed = { failure = true, ran = true },
  signalled = { failure = true, ran = true },
  out_of_memory = { failure = true, ran = true },
  over_disk = { failure = true, ran = true },
  over_time = { failure = true, ran = true },
  expired = {},
  stopped = { ran = true },
  queue_deleted = { ran = true },
  fetch_failed = { failure = true, retryable = true },
  environment_failed = { failure = true, retryable = true },
  store_failed = { failure = true, retryable = true },
  start_failed = { failure = true, retryable = true },
  script_failed = { failure = true, retryable = true },
  runner_lost = { failure = true, retryable = true },
  interrupted = { ran = true },
  drained = {},
  refused = {},
  never_fits = {},
}

---@class outcome
---@field code string
---@field sentence string one sentence for people, without a secret
---@field retryable boolean may another attempt help?
---@field exit integer|false the program's exit status
---@field signal integer|false the signal that ended it
---@field duration integer|false ms the program ran
---@field peak integer|false bytes, the largest resident size

local function number_or_false(value)
  return type(value) == "number" and value or false
end

---@param code string one of the list; anything else raises
---@param sentence string
---@param details table|nil retryable, exit, signal, duration, peak
---@return outcome
function outcome.new(code, sentence, details)
  local kind = CODES[code]
  if not kind then
    error("outcome.new: no such outcome: " .. tostring(code), 2)
  end
  details = details or {}
  local retryable = kind.retryable or false
  if details.retryable ~= nil then
    retryable = retryable and details.retryable == true
  end
  return {
    code = code,
    sentence = sentence,
    retryable = retryable,
    exit = number_or_false(details.exit),
    signal = number_or_false(details.signal),
    duration = number_or_false(details.duration),
    peak = number_or_false(details.peak),
  }
end

--- The outcome of a step that failed with `err`: retryable exactly when the error is.
---@return outcome
function outcome.of_error(code, err)
  return outcome.new(code, err.message, { retryable = err.retryable })
end

--- Is it an outcome? (A script may return anything.)
function outcome.is_outcome(value)
  return type(value) == "table" and CODES[value.code] ~= nil and type(value.sentence) == "string"
end

--- Does an attempt that ended so count against `job.attempts`?
function outcome.is_failure(code)
  return CODES[code].failure or false
end

--- Did the program run, so that its return value is one to keep?
function outcome.ran(code)
  return CODES[code].ran or false
end

--- The last line of `output`:
--- `moonrunner: OUTCOME: SENTENCE (attempt A of N, 12.3 s, peak 182 MiB)`.
---@param ended outcome
---@param attempt integer
---@param attempts integer the most that a job gets
---@return string line without its newline
function outcome.verdict(ended, attempt, attempts)
  local facts = { ("attempt %d of %d"):format(attempt, math.max(attempt, attempts)) }
  if ended.duration then
    facts[#facts + 1] = ("%.1f s"):format(ended.duration / 1000)
  end
  if ended.peak then
    facts[#facts + 1] = "peak " .. host.quantity.format_bytes(ended.peak)
  end
  local sentence = ended.sentence:gsub("%c+", " ")
  return ("moonrunner: %s: %s (%s)"):format(ended.code, sentence, table.concat(facts, ", "))
end

return outcome
