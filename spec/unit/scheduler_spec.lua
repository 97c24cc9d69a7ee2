-- scheduler.lua: the decision core as a pure fold, alone and behind host.scheduler.

local outcome = require("outcome")
local scheduler = require("scheduler")
local world = require("scheduler_world")

local NOW = 1700000000000

local function policies()
  local loaded = {}
  for _, name in ipairs({ "intake", "rank", "place", "plan", "retry" }) do
    loaded[name] = dofile("policies/" .. name .. ".lua")
  end
  return loaded
end

local function job(id, needs, more)
  local fields = {
    id = id, key = "k" .. id, queue = "q", project = false, owner = false, max_duration = false, added = NOW + id,
    needs = { cores = needs.cores or 1, mem = needs.mem or 1, disk = needs.disk or 1, gpus = 0, gpu_mem = 0 },
    attempt = 1, failures = 0, redelivered = false, environment_ready = true,
  }
  for name, value in pairs(more or {}) do
    fields[name] = value
  end
  return fields
end

-- A core on a host of two cores that serves the folder queue `q`; `tell(event, fields)` gives effects, notes.
local function core_with(changed, others, backend)
  local loaded = policies()
  for name, f in pairs(changed or {}) do
    loaded[name] = { api = 1, [name] = f }
  end
  local core = scheduler.new(loaded)
  local function tell(name, fields)
    fields = fields or {}
    fields.event, fields.now = name, fields.now or NOW
    return core:step(fields)
  end
  tell("capacity", { name = "host", total = { cores = 2, mem = 1000, disk = 1000, gpus = {} } })
  tell("queue_seen", { queue = "q", backend = backend or "folder", ready = 5, others = others or 0 })
  return tell, core
end

local function only(effects, name)
  local found = {}
  for _, effect in ipairs(effects) do
    if effect.effect == name then
      found[#found + 1] = effect
    end
  end
  return found
end

describe("the decision core", function()
  it("starts what fits, in the order of receipt, and says with what", function()
    local tell = core_with()
    local start = only(tell("received", { job = job(1, { cores = 2 }) }), "start")[1]
    assert.are.same({ effect = "start", job = 1,
      placement = { cores = 2, mem = 1, disk = 1, gpus = {}, gpu_mem = 0 } }, start)
    assert.are.same({}, only(tell("received", { job = job(2, {}) }), "start"))
  end)

  it("lets a small job pass a large one, but the older of two equal ones first", function()
    local tell = core_with()
    tell("received", { job = job(1, { cores = 1 }) })
    tell("started", { job = 1 })
    tell("received", { job = job(2, { cores = 2 }) })
    assert.are.equal(3, only(tell("received", { job = job(3, { cores = 1 }) }), "start")[1].job)
    tell("started", { job = 3 })
    tell("received", { job = job(5, { cores = 1 }) })
    tell("received", { job = job(4, { cores = 1 }, { added = NOW - 5 }) })
    local effects = tell("ended", { job = 1, outcome = outcome.new("succeeded", "fine") })
    assert.are.equal(4, only(effects, "start")[1].job)
  end)

  it("frees cores at the end, disk only when the folder is gone", function()
    local tell = core_with()
    tell("received", { job = job(1, { disk = 1000 }) })
    tell("started", { job = 1 })
    tell("received", { job = job(2, { disk = 1 }) })
    assert.are.same({}, only(tell("ended", { job = 1, outcome = outcome.new("succeeded", "fine") }), "start"))
    assert.are.equal(2, only(tell("settled", { job = 1, how = "acknowledged" }), "start")[1].job)
  end)

  it("frees cores earlier when the program's processes are gone", function()
    local tell = core_with()
    tell("received", { job = job(1, { cores = 2 }) })
    tell("started", { job = 1 })
    tell("received", { job = job(2, { cores = 2 }) })
    local effects = tell("progress", { job = 1, step = "saving", released = "compute" })
    assert.are.equal(2, only(effects, "start")[1].job)
  end)

  it("tries a refused booking again only when something was released, and counts no attempt", function()
    local tell = core_with()
    tell("received", { job = job(1, {}) })
    tell("received", { job = job(2, {}) })
    tell("started", { job = 2 })
    assert.are.same({}, only(tell("not_booked", { job = 1 }), "start"))
    assert.are.same({}, only(tell("queue_seen", { queue = "q", backend = "folder", ready = 1, others = 0 }), "start"))
    local effects = tell("ended", { job = 2, outcome = outcome.new("succeeded", "fine") })
    assert.are.equal(1, only(effects, "start")[1].job)
    local ended = tell("ended", { job = 1, outcome = outcome.new("expired", "too old") })
    assert.are.equal(0, only(ended, "done")[1].attempt)
  end)

  it("tries it again when a folder of another job is gone", function()
    local tell = core_with()
    tell("received", { job = job(1, {}) })
    tell("started", { job = 1 })
    tell("ended", { job = 1, outcome = outcome.new("succeeded", "fine") })
    tell("received", { job = job(2, {}) })
    tell("not_booked", { job = 2 })
    assert.are.equal(2, only(tell("settled", { job = 1, how = "acknowledged" }), "start")[1].job)
  end)

  it("takes back all of a start that came to nothing", function()
    local tell = core_with()
    tell("received", { job = job(1, { cores = 2, disk = 1000 }) })
    tell("received", { job = job(2, { cores = 2, disk = 1000 }) })
    local effects = tell("ended", { job = 1, outcome = outcome.new("stopped", "by its owner") })
    assert.are.same({ "done", 0 }, { effects[1].effect, effects[1].attempt })
    assert.are.equal(2, only(effects, "start")[1].job)
  end)

  it("does not count the jobs of a queue's former life", function()
    local tell = core_with()
    tell("received", { job = job(1, {}) })
    tell("started", { job = 1 })
    tell("queue_gone", { queue = "q" })
    assert.are.equal(4, only(tell("queue_seen", { queue = "q", backend = "folder", others = 0 }), "credit")[1].n)
  end)

  it("takes a clock that goes back as one that stands still", function()
    local tell, core = core_with()
    tell("tick", { now = NOW + 10 })
    tell("tick", { now = NOW - 10 })
    assert.are.equal(NOW + 10, core.state.now)
  end)

  it("holds what runs and a few more of a folder queue", function()
    local tell = core_with()
    local credit = only(tell("received", { job = job(1, {}) }), "credit")[1]
    assert.are.same({ effect = "credit", queue = "q", n = 5, priority = 0 }, credit)
    assert.are.same({}, only(tell("started", { job = 1 }), "credit"))
  end)

  it("holds nothing of a broker's queue when it is full and others are there", function()
    local tell, core = core_with(nil, 1, "amqp")
    assert.are.equal(2, core.state.queues[1].credit)
    assert.are.equal(1, only(tell("received", { job = job(1, { cores = 2 }) }), "credit")[1].n)
    assert.are.equal(5, only(tell("queue_seen", { queue = "q", backend = "amqp", others = 0 }), "credit")[1].n)
  end)

  it("sets a job aside that needs more than there is, when nobody else consumes the queue", function()
    local tell = core_with()
    local effects = tell("received", { job = job(1, { cores = 3 }, { attempt = 2 }) })
    assert.are.same({ effect = "set_aside", job = 1, attempt = 1, failures = 0, code = "never_fits",
      reason = "needs 3 cores; this host has 2 in all" }, effects[1])
  end)

  it("hands it back when others could run it, and closes the queue for longer each time", function()
    local tell = core_with(nil, 1)
    local effects = tell("received", { job = job(1, { mem = 2000 }) })
    assert.are.equal("never_fits", only(effects, "hand_back")[1].code)
    assert.are.equal(0, only(effects, "credit")[1].n)
    assert.are.equal(NOW + 30000, only(effects, "wake")[1].at)
    assert.are.equal(4, only(tell("tick", { now = NOW + 30000 }), "credit")[1].n)
    effects = tell("received", { now = NOW + 30001, job = job(2, { mem = 2000 }) })
    assert.are.equal(NOW + 90001, only(effects, "wake")[1].at)
  end)

  it("gives others what it could not start for thirty seconds", function()
    local tell = core_with(nil, 1)
    tell("received", { job = job(1, { cores = 2 }) })
    tell("started", { job = 1 })
    assert.are.equal(NOW + 30000, only(tell("received", { job = job(2, {}) }), "wake")[1].at)
    local effects = tell("tick", { now = NOW + 30000 })
    local back = only(effects, "hand_back")[1]
    assert.are.same({ 2, "hold_time", 0 }, { back.job, back.code, back.attempt })
    assert.are.equal(1, only(effects, "credit")[1].n)
    effects = tell("ended", { now = NOW + 31000, job = 1, outcome = outcome.new("succeeded", "fine") })
    assert.are.equal(4, only(effects, "credit")[1].n)
  end)

  it("keeps what waits when nobody else would take it", function()
    local tell = core_with()
    tell("received", { job = job(1, { cores = 2 }) })
    tell("received", { job = job(2, {}) })
    assert.are.same({}, only(tell("tick", { now = NOW + 3600000 }), "hand_back"))
  end)

  it("hands back what waits in a drain, takes nothing, and finishes what runs", function()
    local tell = core_with()
    tell("received", { job = job(1, { cores = 2 }) })
    tell("started", { job = 1 })
    tell("received", { job = job(2, {}) })
    local effects = tell("drain")
    assert.are.same({ 2, "drained" }, { effects[1].job, effects[1].code })
    assert.are.equal(0, only(effects, "credit")[1].n)
    assert.are.equal("hand_back", tell("received", { job = job(3, {}) })[1].effect)
    assert.are.equal("done", tell("ended", { job = 1, outcome = outcome.new("failed", "exit 3") })[1].effect)
    assert.are.equal(4, only(tell("resume"), "credit")[1].n)
  end)

  it("tries again what failed around the program, later each time, until the attempts are used up", function()
    local tell = core_with()
    local failed = outcome.new("fetch_failed", "no such host", { retryable = true })
    tell("received", { job = job(1, {}, { attempt = 2, failures = 1 }) })
    tell("started", { job = 1 })
    assert.are.same({ effect = "again", job = 1, attempt = 2, failures = 2, code = "fetch_failed",
      reason = "no such host", delay = 20000 }, tell("ended", { job = 1, outcome = failed })[1])
    tell("settled", { job = 1, how = "again" })
    tell("received", { job = job(2, {}, { attempt = 3, failures = 2 }) })
    tell("started", { job = 2 })
    local aside = tell("ended", { job = 2, outcome = failed })[1]
    assert.are.same({ "set_aside", 3, "attempts_used" }, { aside.effect, aside.failures, aside.code })
    assert.are.equal("3 of 3 attempts failed, the last one: fetch_failed: no such host", aside.reason)
  end)

  it("does not start a job whose attempts are used up already", function()
    local tell = core_with()
    local effects = tell("received", { job = job(1, {}, { attempt = 4, failures = 3 }) })
    assert.are.same({ "set_aside", "attempts_used", 3 }, { effects[1].effect, effects[1].code, effects[1].attempt })
  end)

  it("does not let a policy try for ever", function()
    local tell = core_with({ retry = function() return { action = "again", delay = 0 } end })
    tell("received", { job = job(1, {}, { failures = 2 }) })
    tell("started", { job = 1 })
    assert.are.equal("set_aside", tell("ended", { job = 1, outcome = outcome.new("failed", "exit 1") })[1].effect)
  end)

  it("answers a job that is over before it could start, without starting it", function()
    local tell = core_with()
    local effects = tell("received", { job = job(1, {}), outcome = outcome.new("expired", "too old") })
    assert.are.same({ "done", 0 }, { effects[1].effect, effects[1].attempt })
    assert.are.same({}, only(effects, "start"))
  end)

  it("ends the waiting jobs of a deleted queue, and lets the running ones end", function()
    local tell = core_with()
    tell("received", { job = job(1, { cores = 2 }) })
    tell("started", { job = 1 })
    tell("received", { job = job(2, {}) })
    local effects = tell("queue_gone", { queue = "q" })
    assert.are.same({ "done", 2, "queue_deleted" }, { effects[1].effect, effects[1].job, effects[1].code })
    assert.are.equal("done", tell("ended", { job = 1, outcome = outcome.new("queue_deleted", "gone") })[1].effect)
    assert.are.equal("hand_back", tell("received", { job = job(3, {}) })[1].effect)
  end)

  it("forgets a lost job that waits, and waits for the end of one that runs", function()
    local tell, core = core_with()
    tell("received", { job = job(1, { cores = 2 }) })
    tell("started", { job = 1 })
    tell("received", { job = job(2, {}) })
    tell("lost", { job = 2 })
    tell("lost", { job = 1 })
    assert.are.equal(1, #core.state.jobs)
    tell("ended", { job = 1, outcome = outcome.new("succeeded", "fine") })
    tell("settled", { job = 1, how = "lost" })
    assert.are.equal(0, #core.state.jobs)
  end)

  it("asks to be woken while something waits, and not twice", function()
    local tell = core_with()
    tell("received", { job = job(1, { cores = 2 }) })
    assert.are.equal(NOW + 30000, only(tell("received", { job = job(2, {}) }), "wake")[1].at)
    assert.are.same({}, only(tell("received", { now = NOW + 1, job = job(3, {}) }), "wake"))
    assert.are.equal(NOW + 60000, only(tell("tick", { now = NOW + 30000 }), "wake")[1].at)
  end)

  it("names what is wrong with an event", function()
    local wrong = {
      { { event = "nonsense", now = NOW }, 'there is no event "nonsense"' },
      { { event = "tick" }, "has no time" },
      { { event = "tick", now = 0 / 0 }, "has no time" },
      { { event = "ended", now = NOW, job = 7 }, "names job 7, which is not here" },
      { { event = "received", now = NOW, job = { id = 1.5, queue = "q" } }, "integer id" },
      { { event = "received", now = NOW, job = job(1, { cores = -1 }) }, "needs.cores is a whole number" },
    }
    for _, case in ipairs(wrong) do
      local _, core = core_with()
      local ok, message = pcall(core.step, core, case[1])
      assert.is_false(ok)
      assert.is_truthy(message:find(case[2], 1, true), message)
    end
  end)

  it("wants to know the capacity first", function()
    assert.has_error(function()
      scheduler.new({}):step({ event = "tick", now = NOW })
    end, 'scheduler: the first event is capacity or snapshot, not "tick"')
  end)
end)

describe("a policy that errs", function()
  local function check_started(changed, pattern, policy)
    local tell = core_with(changed)
    local effects, notes = tell("received", { job = job(1, {}) })
    assert.are.equal(1, only(effects, "start")[1].job)
    assert.are.equal(policy, notes[1].policy)
    assert.is_truthy(notes[1].error:find(pattern), notes[1].error)
  end

  it("costs the decision to the built-in one, and is noted with file and line", function()
    local function raise() error("oh no") end
    check_started({ plan = raise }, "scheduler_spec.lua:%d+: oh no", "plan")
    check_started({ place = raise }, "oh no", "place")
    check_started({ rank = raise }, "oh no", "rank")
    check_started({ intake = raise }, "oh no", "intake")
  end)

  it("is not asked for its error's own text", function()
    check_started({ plan = function()
      error(setmetatable({}, { __tostring = function() error("trap") end }))
    end }, "raised a table", "plan")
  end)

  it("gets nonsense replaced", function()
    check_started({ plan = function() return 7 end }, "plan gives a list", "plan")
    check_started({ place = function() return "here" end }, "place gives a table", "place")
    check_started({ place = function() return { cores = 3 } end }, "cores: 3 of 2 free", "place")
    check_started({ place = function() return { cores = 0 / 0 } end }, "not a whole number", "place")
    check_started({ place = function() return { gpus = { "none" } } end }, "no such GPU", "place")
    check_started({ rank = function() return 0 / 0 end }, "finite number", "rank")
    check_started({ intake = function() return { waiting = 1.5 } end }, "waiting is not a whole number", "intake")
    check_started({ intake = function() return { waiting = 1, priority = 2 ^ 40 } end }, "priority", "intake")
  end)

  it("loses only the entry of its plan that is nonsense", function()
    local tell = core_with({ plan = function(waiting, _, place)
      local answer = { 7, { start = { id = 99 } } }
      for _, waits in ipairs(waiting) do
        local placement = place(waits, { cores = 9, mem = 999, disk = 999, gpus = {} })
        answer[#answer + 1] = { start = waits, placement = placement }
        answer[#answer + 1] = { start = waits, placement = placement }
      end
      return answer
    end })
    local effects, notes = tell("received", { job = job(1, {}) })
    assert.are.equal(1, #only(effects, "start"))
    assert.are.equal(3, #notes)
    effects, notes = tell("received", { job = job(2, { cores = 2 }) })
    assert.are.same({}, only(effects, "start"))
    assert.are.equal("placement: cores: 2 of 1 free", notes[3].error)
  end)

  it("can not start two jobs on the same cores", function()
    local tell = core_with({ plan = function(waiting, node, place)
      local answer = {}
      for i, waits in ipairs(waiting) do
        answer[i] = { start = waits, placement = place(waits, node.free) }
      end
      return answer
    end })
    tell("received", { job = job(1, { cores = 2 }) })
    tell("started", { job = 1 })
    tell("received", { job = job(2, { cores = 2 }) })
    tell("received", { job = job(3, { cores = 2 }) })
    local effects, notes = tell("ended", { job = 1, outcome = outcome.new("succeeded", "fine") })
    assert.are.equal(1, #only(effects, "start"))
    assert.are.equal("placement: cores: 2 of 0 free", notes[#notes].error)
  end)

  it("can not change what the core knows through its arguments", function()
    local tell, core = core_with({ plan = function(waiting, node)
      waiting[1].needs.cores, waiting[1].id, node.free.cores, node.total.cores = 0, 5, 99, 99
      return {}
    end })
    tell("received", { job = job(1, { cores = 2 }) })
    assert.are.equal(2, core.state.jobs[1].needs.cores)
    assert.are.equal(2, core.state.total.cores)
  end)

  it("gets its retry replaced by the built-in one", function()
    local tell = core_with({ retry = function() return { action = "explode" } end })
    tell("received", { job = job(1, {}) })
    tell("started", { job = 1 })
    local effects, notes = tell("ended", { job = 1, outcome = outcome.new("succeeded", "fine") })
    assert.are.equal("done", effects[1].effect)
    assert.are.equal("retry", notes[1].policy)
  end)

  it("may hand a job back, which closes the queue", function()
    local tell = core_with({ plan = function(waiting)
      return waiting[1] and { { hand_back = waiting[1], reason = "not on a Sunday" } } or {}
    end })
    local effects = tell("received", { job = job(1, {}) })
    assert.are.same({ "hand_back", "policy", "not on a Sunday" },
      { effects[1].effect, effects[1].code, effects[1].reason })
    assert.are.equal(0, only(effects, "credit")[1].n)
  end)

  it("is refused when its shape is wrong", function()
    assert.has_error(function() scheduler.new({ rank = { api = 2 } }) end,
      "policy rank: api is 2; this host knows 1")
    assert.has_error(function() scheduler.new({ rank = { api = 1 } }) end,
      "policy rank: the function `rank` is missing")
    assert.has_error(function() scheduler.new({ rank = 7 }) end)
  end)
end)

describe("in a random life of a host", function()
  local function live(seed, steps, after_step)
    local core = scheduler.new(policies())
    local made = world.new(seed, function(event) return core:step(event) end)
    made.core, made.after_step = core, after_step
    made:live(steps)
    return made
  end

  it("nothing is booked twice and every job is answered once", function()
    for seed = 1, 60 do
      local made = live(seed, 300)
      assert.is_true(made:finish(), "a job never ended, seed " .. seed)
      assert.are.equal(made.received, made.answers + made.lost)
      assert.are.equal(0, #made.core.state.jobs)
    end
  end)

  it("no job waits that would fit, unless its booking was refused", function()
    local fit = require("fit")
    for seed = 1, 30 do
      live(seed, 200, function(made)
        local free = made:free()
        for _, waits in ipairs(made.core.waiting) do
          assert.is_truthy(waits.blocked or fit.lacks(waits.needs, free), "job " .. waits.id .. ", seed " .. seed)
        end
      end)
    end
  end)

  it("the same events give the same effects, also when the state moves to another core on the way", function()
    for seed = 1, 20 do
      local made = live(seed, 200)
      local core, effects = scheduler.new(policies()), {}
      for i, event in ipairs(made.events) do
        if i % 17 == 0 then
          local state = core:export()
          core = scheduler.new(policies())
          assert.are.same({}, (core:step({ event = "snapshot", state = state })))
        end
        for _, effect in ipairs((core:step(event))) do
          effects[#effects + 1] = effect
        end
      end
      assert.are.same(made.effects, effects)
    end
  end)
end)
