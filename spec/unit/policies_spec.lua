-- The shipped policies: their examples are true, and the built-in ones, which stand in for them, decide alike.

local default_policy = require("default_policy")
local policy_guard = require("policy_guard")

local function load(name)
  return dofile("policies/" .. name .. ".lua")
end

local function deep_copy(value)
  return require("lists").deep_copy(value)
end

-- What an example's arguments are completed by: `plan` is given the `place` in force.
local function arguments(name, example)
  local given = deep_copy(example.given)
  if name == "plan" then
    given[3] = load("place").place
  end
  return given
end

for _, name in ipairs(policy_guard.NAMES) do
  describe("the policy " .. name, function()
    local policy = load(name)

    it("has the shape that the host asks for", function()
      assert.is_true(policy_guard.check_exports(name, policy))
      assert.is_true(#policy.examples > 0)
    end)

    for _, example in ipairs(policy.examples) do
      it("is true to its example: " .. example.says, function()
        local first, second = policy[name](unpack(arguments(name, example)))
        if example.refuses then
          assert.is_nil(first)
          assert.are.same(example.refuses, second)
        else
          assert.are.same(example.gives, first)
        end
      end)

      it("decides as the built-in one: " .. example.says, function()
        local first, second = default_policy[name](unpack(arguments(name, example)))
        assert.are.same(example.gives, first)
        assert.are.same(example.refuses, second)
      end)
    end
  end)
end

describe("the policy that policies/README.md teaches", function()
  it("is true to its example", function()
    local file = assert(io.open("policies/README.md"))
    local text = file:read("*a"):match("```lua\n(.-)```")
    file:close()
    local policy = assert(loadstring(text))()
    assert.is_true(policy_guard.check_exports("rank", policy))
    for _, example in ipairs(policy.examples) do
      assert.are.same(example.gives, policy.rank(unpack(example.given)))
    end
  end)
end)

describe("retry", function()
  -- design, section 6
  local table_of_answers = {
    succeeded = "done", failed = "done", signalled = "done", out_of_memory = "done", over_disk = "done",
    over_time = "done", expired = "done", stopped = "done", queue_deleted = "done", fetch_failed = "again",
    environment_failed = "again", store_failed = "again", start_failed = "again", script_failed = "again",
    runner_lost = "again", interrupted = "hand_back", drained = "hand_back", lost = "hand_back",
    refused = "set_aside", never_fits = "set_aside",
  }
  local retry = load("retry").retry

  for code, action in pairs(table_of_answers) do
    it("answers " .. code .. " with " .. action, function()
      assert.are.equal(action, retry({ failures = 0 }, { code = code, retryable = true }).action)
      assert.are.equal(action, default_policy.retry({ failures = 0 }, { code = code, retryable = true }).action)
      if action == "again" then
        assert.are.equal("set_aside", retry({ failures = 0 }, { code = code, retryable = false }).action)
      end
    end)
  end

  it("waits 10 s, 20 s, 40 s and so on, at most 10 min", function()
    local delays = {}
    for failures = 0, 7 do
      delays[failures + 1] = retry({ failures = failures }, { code = "fetch_failed", retryable = true }).delay / 1000
    end
    assert.are.same({ 10, 20, 40, 80, 160, 320, 600, 600 }, delays)
  end)
end)
