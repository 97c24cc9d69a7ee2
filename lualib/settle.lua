-- The only place that answers a delivery (design, section 6).
--
-- The order is: results, verdict line, output (job:save), document, answer. Nothing of it can be cancelled half-way.
local errors = require "errors"
local outcome = require "outcome"

local settle = {}

local LIMIT = 15 * 60 * 1000 -- ms for all of it
local RETRY = 1000           -- ms between two tries of an answer that failed
local RETRY_LOG = 60         -- every so many tries it is logged again
local UNREADABLE = 10000     -- ms before a message that could not be read goes back

local EVENTS = {
  acknowledged = "delivery.acknowledged", again = "delivery.returned", handed_back = "delivery.returned",
  set_aside = "delivery.set_aside", lost = "delivery.lost",
}

-- What the document says: the client's `finished` when nothing follows. A job that fits nowhere was never tried: it
-- stays `waiting`, set aside, with the reason.
local function write_document(job, answer)
  local set_aside = answer.effect == "set_aside"
  local over = answer.effect == "done" or (set_aside and answer.code ~= "never_fits")
  local ended = job.outcome or { code = answer.code, sentence = answer.reason }
  local written, err = job:open_store()
  if written then
    written, err = job.lease:finish(over and "ended" or "waiting", answer, ended)
  end
  if not written and not errors.is(err, "store.not_found") then
    host.log("warning", "document.failed", { error = tostring(err) })
  end
end

local ANSWERS = {
  done = function(delivery) return delivery:acknowledge() end,
  again = function(delivery, answer) return delivery:again(answer) end,
  set_aside = function(delivery, answer) return delivery:set_aside(answer) end,
  hand_back = function(delivery, answer) return delivery:hand_back(answer) end,
}

-- An answer that fails (a full disk, a lock that is held) is tried until it is given: the delivery is ours meanwhile,
-- and nothing is lost.
local function give(delivery, answer)
  local tries = 0
  while true do
    local how, err = ANSWERS[answer.effect](delivery, answer)
    if how then
      host.log(how == "set_aside" and "warning" or "info", EVENTS[how], {
        answer = how, code = answer.code, reason = answer.reason, attempt = answer.attempt, failures = answer.failures,
      })
      return how
    end
    if tries % RETRY_LOG == 0 then
      host.log("error", "queue.failed", { error = tostring(err), answer = answer.effect })
    end
    tries = tries + 1
    local slept
    slept, err = host.time.sleep(RETRY)
    if not slept then
      return nil, err
    end
  end
end

-- Scripts hold the same job: what one of them has broken in it must not keep the delivery from its answer.
local function guarded(f, ...)
  local fine, err = pcall(f, ...)
  if not fine then
    host.log("error", "task.failed", { error = tostring(err) })
  end
end

local function carry_out(job, delivery, answer)
  if job.outcome and not job.saved then
    guarded(job.save, job, job.outcome)
  end
  guarded(write_document, job, answer)
  local how, err = give(delivery, answer)
  guarded(job.close, job)
  return how, err
end

--- Carries out the fold's answer for a job: results if they are not saved yet, document, answer, then its folder goes.
--- `again` keeps the delivery for `answer.delay` ms first, or until the task is cancelled. Waits.
---@param job table
---@param delivery table the job's
---@param answer {effect: string, attempt: integer, failures: integer, code: string, reason: string, delay: integer?}
---@return string|nil how acknowledged, again, set_aside, handed_back or lost
---@return table|nil err the delivery is still ours
function settle.answer(job, delivery, answer)
  if answer.effect == "again" and answer.delay > 0 then
    -- Cancelled (a drain): returned at once, for whoever comes next.
    host.time.sleep(answer.delay)
  end
  return host.task.shield(LIMIT, carry_out, job, delivery, answer)
end

--- Answers a delivery that is no job. What is undecodable or too big is set aside; what could not be read just now
--- goes to the tail of its queue, as often as a job is tried. Its document is untouched. Waits.
---@param delivery table
---@param err table message.invalid, message.too_big, file.*, …
---@param attempts integer how many failures set it aside
---@return string|nil how
function settle.refuse(delivery, err, attempts)
  local refused = outcome.of_error("refused", err)
  local failures = delivery.failures + 1
  local answer = { effect = "set_aside", code = refused.code, reason = refused.sentence,
    attempt = delivery.attempt - 1, failures = delivery.failures }
  host.log("warning", "job.refused", { message = delivery.key_hint, queue = delivery.queue, reason = refused.sentence })
  if err.retryable and failures < attempts then
    answer.effect, answer.attempt, answer.failures = "again", delivery.attempt, failures
    host.time.sleep(UNREADABLE)
  end
  return host.task.shield(LIMIT, give, delivery, answer)
end

return settle
