local errors = require "errors"
local outcome = require "outcome"
local settle = require "settle"
local spec_folder = require "spec_folder"

local real_sleep = host.time.sleep

-- A job that only writes down what is done to it. `failing` answers fail first.
local function recording_job(steps, failing)
  local function step(name, result)
    return function(_, argument)
      steps[#steps + 1] = name
      if name ~= "save" and name ~= "store" and name ~= "close" and failing > 0 then
        failing = failing - 1
        return nil, errors.new("file.full", "no space")
      end
      return result, argument
    end
  end
  local delivery = { attempt = 2, failures = 1, queue = "q", key_hint = "m" }
  for method, how in pairs({ acknowledge = "acknowledged", again = "again", hand_back = "handed_back",
    set_aside = "set_aside" }) do
    delivery[method] = step(method, how)
  end
  return {
    delivery = delivery, saved = false, save = step("save"), open_store = step("store", true), close = step("close"),
    lease = { finish = function(_, state, answer, ended)
      steps[#steps + 1] = ("document %s %s %s"):format(state, answer.effect, ended.code)
      return true
    end },
  }
end

local function answer(effect, code, fields)
  local made = { effect = effect, code = code, reason = "r", delay = 0, attempt = 2, failures = 1 }
  for name, value in pairs(fields or {}) do
    made[name] = value
  end
  return made
end

describe("an answer", function()
  local slept

  before_each(function()
    slept = {}
    host.time.sleep = function(ms) -- luacheck: ignore 122
      slept[#slept + 1] = ms
      return real_sleep(0)
    end
  end)

  after_each(function()
    host.time.sleep = real_sleep -- luacheck: ignore 122
  end)

  -- What is done, in order, for this effect after an attempt that ended with `code`; without: one that never began.
  local function order(effect, code, options)
    options = options or {}
    local steps = {}
    local job = recording_job(steps, options.failing or 0)
    job.outcome = not options.never_began and outcome.new(code, "s") or nil
    job.saved = options.saved or false
    local how = settle.answer(job, job.delivery, answer(effect, code, options.answer))
    return steps, how
  end

  it("comes after the results and the document, and the job's folder goes last", function()
    assert.same({ "save", "store", "document ended done succeeded", "acknowledge", "close" },
      (order("done", "succeeded")))
  end)

  it("saves no results twice, and none of a job that never began", function()
    assert.same({ "store", "document ended done failed", "acknowledge", "close" },
      (order("done", "failed", { saved = true })))
    assert.same({ "store", "document waiting hand_back drained", "hand_back", "close" },
      (order("hand_back", "drained", { never_began = true })))
  end)

  it("says `ended` in the document exactly when nothing follows", function()
    for _, case in ipairs({
      { "again", "fetch_failed", "waiting" }, { "hand_back", "interrupted", "waiting" },
      { "set_aside", "fetch_failed", "ended" }, { "set_aside", "never_fits", "waiting" },
      { "done", "stopped", "ended" },
    }) do
      local steps = order(case[1], case[2], { never_began = case[2] == "never_fits", saved = true })
      assert.equal(("document %s %s %s"):format(case[3], case[1], case[2]), steps[2])
    end
  end)

  it("that fails is given until it succeeds; the document is not written again", function()
    local steps, how = order("done", "succeeded", { failing = 3, saved = true })
    assert.equal("acknowledged", how)
    assert.same({ "store", "document ended done succeeded", "acknowledge", "acknowledge", "acknowledge",
      "acknowledge", "close" }, steps)
    assert.same({ 1000, 1000, 1000 }, slept)
  end)

  it("waits for its delay only when it is `again`", function()
    order("again", "fetch_failed", { saved = true, answer = { delay = 20000 } })
    order("done", "failed", { saved = true, answer = { delay = 20000 } })
    assert.same({ 20000 }, slept)
  end)

  it("is given although the document can not be written", function()
    local steps = {}
    local job = recording_job(steps, 0)
    job.saved, job.outcome = true, outcome.new("failed", "s")
    job.lease.finish = function() return nil, errors.new("file.full", "no space") end
    assert.equal("acknowledged", settle.answer(job, job.delivery, answer("done", "failed")))
    job.open_store = function() return nil, errors.new("store.denied", "no") end
    assert.equal("acknowledged", settle.answer(job, job.delivery, answer("done", "failed")))
  end)

  it("is given although a script has broken what is saved, written or closed", function()
    local steps = {}
    local job = recording_job(steps, 0)
    local function broken() error("a script did this") end
    job.outcome, job.save, job.lease, job.close = outcome.new("failed", "s"), broken, nil, broken
    assert.equal("acknowledged", settle.answer(job, job.delivery, answer("done", "failed")))
    assert.same({ "store", "acknowledge" }, steps)
  end)

  it("is carried out to its end once it has begun, also when its task is cancelled", function()
    host.time.sleep = real_sleep -- luacheck: ignore 122
    local steps = {}
    local job = recording_job(steps, 0)
    job.outcome = outcome.new("failed", "s")
    job.save = function()
      steps[#steps + 1] = "saving"
      assert(host.time.sleep(20))
      steps[#steps + 1] = "saved"
    end
    local task = host.task.start(settle.answer, job, job.delivery, answer("done", "failed"))
    repeat
      host.time.sleep(1)
    until steps[1]
    task:cancel()
    task:await_end()
    assert.same({ "saving", "saved", "store", "document ended done failed", "acknowledge", "close" }, steps)
  end)

  it("cuts a delay short when its task is cancelled", function()
    host.time.sleep = real_sleep -- luacheck: ignore 122
    local steps = {}
    local job = recording_job(steps, 0)
    job.outcome, job.saved = outcome.new("fetch_failed", "s"), true
    local task = host.task.start(settle.answer, job, job.delivery, answer("again", "fetch_failed", { delay = 3600000 }))
    host.time.sleep(1)
    assert.same({}, steps)
    task:cancel()
    assert.equal("again", (task:join()))
  end)

  describe("to a delivery that is no job", function()
    local function refuse(err, failures)
      local given
      local delivery = { attempt = 1, failures = failures or 0, queue = "q", key_hint = "m" }
      for _, method in ipairs({ "set_aside", "again" }) do
        delivery[method] = function(_, about)
          given = { method, about.attempt, about.failures, about.reason }
          return method
        end
      end
      settle.refuse(delivery, err, 3)
      return given
    end

    it("sets it aside, with the reason and as if it had never been tried", function()
      assert.same({ "set_aside", 0, 0, "not JSON" }, refuse(errors.new("message.invalid", "not JSON")))
    end)

    it("puts it to the tail when it could not be read just now, as often as a job is tried", function()
      local err = errors.new("file.io", "broken")
      assert.is_true(err.retryable)
      assert.same({ "again", 1, 1, "broken" }, refuse(err))
      assert.same({ 10000 }, slept)
      assert.same({ "set_aside", 0, 2, "broken" }, refuse(err, 2))
    end)
  end)
end)

describe("lualib", function()
  it("answers deliveries in one place: settle.lua", function()
    local place = setmetatable({ path = "lualib" }, getmetatable(spec_folder.make()))
    local found = {}
    for _, file in ipairs(place:files()) do
      if file:find("%.lua$") and not file:find("^queue/") then
        for _, method in ipairs({ "acknowledge", "again", "hand_back", "set_aside" }) do
          if place:read(file):find("[%w_%]%)]:" .. method .. "%(") then
            found[file] = true
          end
        end
      end
    end
    assert.same({ ["settle.lua"] = true }, found)
  end)
end)
