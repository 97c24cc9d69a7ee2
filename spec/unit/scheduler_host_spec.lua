-- host.scheduler: the decision core in a Lua state of its own, its policies from files, and the trace.

local outcome = require("outcome")
local scheduler = require("scheduler")
local world = require("scheduler_world")

local NOW = 1700000000000
local opened = {}

local function open(policies)
  local core, err = host.scheduler.open({ lualib = "lualib", policies = policies or "policies", shipped = "policies" })
  opened[#opened + 1] = core
  return core, err
end

-- A folder with these policy files.
local function folder(files)
  local path = os.tmpname()
  os.remove(path)
  assert(host.file.root:mkdir(path, 448))
  for name, text in pairs(files) do
    assert(host.file.root:create(path .. "/" .. name .. ".lua", text, 384))
  end
  finally(function() host.file.root:remove_tree(path) end)
  return path
end

local function begin(core)
  assert(core:step({ event = "capacity", now = NOW, name = "h", total = { cores = 2, mem = 9, disk = 9, gpus = {} } }))
  assert(core:step({ event = "queue_seen", now = NOW, queue = "q", backend = "folder", ready = 1, others = 0 }))
end

local function receive(core, id)
  return core:step({ event = "received", now = NOW, job = { id = id, key = "k", queue = "q", added = NOW - 5,
    attempt = 1, failures = 0, needs = { cores = 1, mem = 1, disk = 1, gpus = 0, gpu_mem = 0 } } })
end

describe("host.scheduler", function()
  after_each(function()
    for _, core in ipairs(opened) do
      core:close()
    end
    opened = {}
  end)

  it("writes a canonical line for each event and each effect, once", function()
    local core = assert(open())
    begin(core)
    core:lines()
    receive(core, 1)
    assert.are.same({
      '{"event":"received","job":{"added":1699999999995,"attempt":1,"failures":0,"id":1,"key":"k","needs":'
        .. '{"cores":1,"disk":1,"gpu_mem":0,"gpus":0,"mem":1},"queue":"q"},"now":1700000000000}',
      '{"effect":"start","job":1,"placement":{"cores":1,"disk":1,"gpu_mem":0,"gpus":[],"mem":1}}',
      '{"effect":"credit","n":5,"priority":0,"queue":"q"}',
    }, core:lines())
    assert.are.same({}, core:lines())
  end)

  it("decides as the fold in Lua does, and byte for byte the same each time", function()
    for seed = 1, 5 do
      local plain = scheduler.new({})
      local made = world.new(seed, function(event) return plain:step(event) end)
      made:live(200)
      local one, two, moved = assert(open()), assert(open()), assert(open())
      local effects, lines, lines_of_moved = {}, {}, {}
      for i, event in ipairs(made.events) do
        for _, effect in ipairs(assert(one:step(event))) do
          effects[#effects + 1] = effect
        end
        assert(two:step(event))
        if i % 50 == 0 then
          local state = assert(moved:export())
          moved:close()
          moved = assert(open())
          assert(moved:step({ event = "snapshot", state = state }))
          moved:lines()
        end
        assert(moved:step(event))
        for _, line in ipairs(moved:lines()) do
          lines_of_moved[#lines_of_moved + 1] = line
        end
        for _, line in ipairs(one:lines()) do
          lines[#lines + 1] = line
        end
      end
      assert.are.same(made.effects, effects)
      assert.are.equal(table.concat(lines, "\n"), table.concat(two:lines(), "\n"))
      assert.are.equal(table.concat(lines, "\n"), table.concat(lines_of_moved, "\n"))
    end
  end)

  it("takes from the operator's folder what is there, and the rest from the shipped one", function()
    local core = assert(open(folder({
      plan = "return {api = 1, plan = function(w) local r = {} for i, j in ipairs(w) do\n"
        .. "r[i] = {hand_back = j, reason = 'no'} end return r end}",
    })))
    begin(core)
    assert.are.equal("policy", receive(core, 1)[1].code)
  end)

  it("names file and line of a policy that does not load", function()
    local cases = {
      { "return {\n  api = = 1\n}", "rank.lua:2:" },
      { "error('at once')", "rank.lua:1: at once" },
      { "return {api = 2, rank = print}", "rank.lua: api is 2; this host knows 1" },
      { "return {api = 1}", "rank.lua: the function `rank` is missing" },
      { "return 7", "rank.lua: it returns a number" },
      { "\27LJ", "rank.lua: attempt to load" },
      { "return require 'scheduler'", 'a policy can have "fit"' },
    }
    for _, case in ipairs(cases) do
      local core, err = open(folder({ rank = case[1] }))
      assert.is_nil(core)
      assert.are.equal("policy.invalid", err.code)
      assert.is_truthy(err.message:find(case[2], 1, true), err.message)
    end
  end)

  it("names a file of its own that is missing", function()
    local core, err = host.scheduler.open({ lualib = "nowhere", policies = "policies", shipped = "policies" })
    assert.is_nil(core)
    assert.is_truthy(err.message:find("nowhere/scheduler.lua: no such file", 1, true))
    core, err = host.scheduler.open({ lualib = "lualib", policies = "nowhere", shipped = "nowhere" })
    assert.is_nil(core)
    assert.is_truthy(err.message:find("nowhere/intake.lua: no such file", 1, true))
  end)

  it("gives a policy no clock, file, random number, coroutine or pcall", function()
    local names = { "io", "os", "debug", "ffi", "jit", "coroutine", "package", "pcall", "xpcall", "load", "loadstring",
      "loadfile", "dofile", "setmetatable", "getmetatable", "rawset", "getfenv", "setfenv", "_G", "next", "print",
      "newproxy", "collectgarbage", "module", "host", "bit" }
    local text = { "local there = ''" }
    for _, name in ipairs(names) do
      text[#text + 1] = ("there = there .. (%s and ' %s' or '')"):format(name, name)
    end
    text[#text + 1] = "there = there .. (math.random and ' random' or '') .. (string.dump and ' dump' or '')"
    text[#text + 1] = "if there ~= '' then error('it has' .. there) end"
    text[#text + 1] = "return {api = 1, rank = function(job) return job.added end}"
    assert(open(folder({ rank = table.concat(text, "\n") })))
  end)

  it("keeps what a policy overwrites to that policy", function()
    local core = assert(open(folder({
      rank = "string.format = nil; table.insert = nil; math.max = nil; require('fit').take = nil\n"
        .. "return {api = 1, rank = function(job) return job.added end}",
    })))
    begin(core)
    local effects, notes = receive(core, 1)
    assert.are.equal("start", effects[1].effect)
    assert.are.same({}, notes)
  end)

  it("notes the failure of a policy, in its answer and in the trace", function()
    local text = "return {api = 1, rank = function(job)\n  return job.nothing.there\nend}"
    local core = assert(open(folder({ rank = text })))
    begin(core)
    core:lines()
    local effects, notes = receive(core, 1)
    assert.are.equal("start", effects[1].effect)
    assert.are.equal("rank", notes[1].policy)
    assert.is_truthy(notes[1].error:find("rank.lua:2: attempt to index"), notes[1].error)
    assert.is_truthy(core:lines()[2]:find('"note":"policy"', 1, true))
  end)

  it("is of no use after its trusted part failed", function()
    local core = assert(open())
    local effects, err = core:step({ event = "ended", now = NOW, job = 1, outcome = outcome.new("failed", "x") })
    assert.is_nil(effects)
    assert.is_truthy(err.message:find("the first event is capacity", 1, true))
    effects, err = core:step({ event = "tick", now = NOW })
    assert.is_nil(effects)
    assert.is_truthy(err.message:find("has failed before", 1, true))
  end)

  it("raises on an event that is no plain value, and lives on", function()
    local core = assert(open())
    begin(core)
    for _, wrong in ipairs({ { event = print }, { event = "tick", now = 0 / 0 }, { 1, 2, x = 3 } }) do
      assert.has_error(function() core:step(wrong) end)
    end
    local loop = { event = "tick", now = NOW }
    loop.loop = loop
    assert.has_error(function() core:step(loop) end)
    assert.is_truthy(core:step({ event = "tick", now = NOW }))
  end)

  it("can be closed twice, and then says so", function()
    local core = assert(open())
    core:close()
    core:close()
    assert.has_error(function() core:lines() end, "the scheduler is closed")
  end)

  it("leaves nothing open when it can not be opened", function()
    for _, point in ipairs({ "scheduler.state", "scheduler.open", "scheduler.read" }) do
      for nth = 1, 3 do
        fault.reset()
        fault.arm(point, nth)
        local core, err = open()
        assert.are.equal(point == "scheduler.state" and nth > 1, core ~= nil)
        assert.are.equal(core == nil, err ~= nil)
      end
    end
    fault.reset()
  end)

  it("says when memory for a copy is missing", function()
    for _, point in ipairs({ "copy.read", "copy.members", "copy.sort", "copy.text" }) do
      local core = assert(open())
      begin(core)
      fault.reset()
      fault.arm(point, 1)
      local effects, err = receive(core, 1)
      assert.is_nil(effects)
      assert.are.equal("memory.exhausted", err.code)
    end
    fault.reset()
  end)
end)
