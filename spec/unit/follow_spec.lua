local follow = require "cli.follow"

describe("the exit status of submit --wait", function()
  local cases = {
    { { outcome = "succeeded", exit = 0 }, 0 },
    { { outcome = "failed", exit = 3 }, 3 },
    { { outcome = "signalled", signal = 9 }, 137 },
    { { outcome = "over_time", signal = 15 }, 124 },
    { { outcome = "over_time", exit = 0 }, 124 },
    { { outcome = "stopped", signal = 15 }, 143 },
    { { outcome = "stopped", exit = 0 }, 125 },
    { { outcome = "stopped" }, 125 },
    { { outcome = "expired" }, 125 },
    { { outcome = "fetch_failed" }, 125 },
    { { outcome = "environment_failed" }, 125 },
    { { outcome = "never_fits", set_aside = true }, 125 },
    { {}, 125 },
  }
  for _, case in ipairs(cases) do
    it(("is %d for %s%s"):format(case[2], case[1].outcome or "an ending that says nothing",
      case[1].exit and " with status " .. case[1].exit or case[1].signal and " by signal " .. case[1].signal or ""),
      function()
        assert.equal(case[2], follow.exit_status(case[1]))
      end)
  end

  it("is never 0 for a job that was not a success", function()
    for _, code in ipairs({ "out_of_memory", "over_disk", "queue_deleted", "store_failed", "start_failed",
      "script_failed", "runner_lost", "interrupted", "drained", "refused", "never_fits" }) do
      assert.is_true(follow.exit_status({ outcome = code }) ~= 0, code)
      assert.is_true(follow.exit_status({ outcome = code, exit = 0 }) ~= 0, code .. " with exit status 0")
    end
  end)
end)
