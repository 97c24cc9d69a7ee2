local outcome = require "outcome"

-- The closed list of the design, section 6: is it a failure, is it retryable by default, did the program run?
local LIST = {
  succeeded = { false, false, true }, failed = { true, false, true }, signalled = { true, false, true },
  out_of_memory = { true, false, true }, over_disk = { true, false, true }, over_time = { true, false, true },
  expired = { false, false, false }, stopped = { false, false, true }, queue_deleted = { false, false, true },
  fetch_failed = { true, true, false }, environment_failed = { true, true, false },
  store_failed = { true, true, false },
  start_failed = { true, true, false }, script_failed = { true, true, false }, runner_lost = { true, true, false },
  interrupted = { false, false, true }, drained = { false, false, false }, refused = { false, false, false },
  never_fits = { false, false, false },
}

describe("an outcome", function()
  for code, expected in pairs(LIST) do
    it("of code " .. code .. " is of the kind that the design says", function()
      local ended = outcome.new(code, "s")
      assert.same(expected, { outcome.is_failure(code), ended.retryable, outcome.ran(code) })
      assert.is_true(outcome.is_outcome(ended))
    end)
  end

  it("has no code outside of the list", function()
    assert.has_error(function() outcome.new("done", "s") end, "outcome.new: no such outcome: done")
    for _, value in ipairs({ "succeeded", {}, { code = "done", sentence = "s" }, { code = "failed" }, false }) do
      assert.is_false(outcome.is_outcome(value))
    end
  end)

  it("is tried again exactly when its error is worth it, and never when its kind is not", function()
    assert.is_true(outcome.of_error("fetch_failed", { message = "m", retryable = true }).retryable)
    assert.is_false(outcome.of_error("fetch_failed", { message = "m", retryable = false }).retryable)
    assert.is_false(outcome.new("failed", "s", { retryable = true }).retryable)
  end)

  it("keeps numbers only, whatever a script has put there", function()
    local ended = outcome.new("failed", "s", { exit = "3", signal = {}, duration = print, peak = 7, more = print })
    assert.same({ code = "failed", sentence = "s", retryable = false, exit = false, signal = false, duration = false,
      peak = 7 }, ended)
  end)
end)

describe("the verdict line", function()
  local cases = {
    { outcome.new("failed", "the program exited with status 3", { exit = 3, duration = 12345, peak = 182 * 2 ^ 20 }),
      1, 3, "moonrunner: failed: the program exited with status 3 (attempt 1 of 3, 12.3 s, peak 182 MiB)" },
    { outcome.new("fetch_failed", "artifact data: not there"), 2, 3,
      "moonrunner: fetch_failed: artifact data: not there (attempt 2 of 3)" },
    { outcome.new("script_failed", "line one\nline two\r\n\tthree"), 1, 3,
      "moonrunner: script_failed: line one line two three (attempt 1 of 3)" },
    { outcome.new("succeeded", "s", { duration = 0 }), 5, 3, "moonrunner: succeeded: s (attempt 5 of 5, 0.0 s)" },
  }
  for _, case in ipairs(cases) do
    it("of " .. case[1].code .. " is one line in the form that others read", function()
      assert.equal(case[4], outcome.verdict(case[1], case[2], case[3]))
    end)
  end
end)
