-- The document of a job: our member in it, the client's status, and what others write meanwhile.
local document = require "studioml.document"
local errors = require "errors"
local lease = require "lease"
local store_worlds = require "store_worlds"

local KEY = "experiments/e"
-- As the client writes it: an empty list, a long number, a member that nobody knows.
local TEXT = '{"key": "e", "args": [], "status": "waiting", "time_added": 1795527139.1530757, '
  .. '"unknown": {"b": 1, "a": []}}'
local real_sleep, real_monotonic = host.time.sleep, host.time.monotonic

describe("a lease", function()
  local world, store, attempt, held

  before_each(function()
    world = store_worlds.folder()
    world:write_document(KEY, TEXT)
    store = world:store()
    attempt = { attempt = 2, failures = 1, runner = "host-1", run = "0000aaaa", message = "digest" }
    held = lease.new(store, "e", attempt)
  end)

  after_each(function()
    host.time.sleep, host.time.monotonic = real_sleep, real_monotonic -- luacheck: ignore 122
    store:close()
    world:close()
  end)

  local function text()
    return world.place:read("meta/" .. KEY)
  end

  local function decoded()
    return assert(document.get(text()))
  end

  local function write_status(status)
    world:write_document(KEY, (text():gsub('"status": "[%a]+"', ('"status": "%s"'):format(status))))
  end

  it("says who runs which attempt, and leaves every other byte alone", function()
    assert.equal("running", held:begin())
    local now = decoded()
    assert.equal("running", now.status)
    assert.is_true(math.abs(now.time_started * 1000 - host.time.wall()) < 60000)
    assert.is_true(math.abs(now.moonrunner.alive - host.time.wall()) < 60000)
    now.moonrunner.alive = nil
    assert.same({ attempt = 2, failures = 1, runner = "host-1", run = "0000aaaa", message = "digest",
      state = "running" }, now.moonrunner)
    local rest = text():gsub(', "moonrunner": {.*$', "}"):gsub('"running"', '"waiting"')
    assert.equal(TEXT, rest)
  end)

  it("is not taken for a job that was stopped before it started", function()
    write_status("stopped")
    local before = text()
    assert.equal("stopped", held:begin())
    assert.equal(before, text())
  end)

  it("without a document is none", function()
    world:delete_document(KEY)
    local state, err = held:begin()
    assert.is_nil(state)
    assert.equal("store.not_found", err.code)
    assert.is_nil(world.place:stat("meta/" .. KEY))
  end)

  it("ends with `finished`, the outcome and the numbers after this attempt", function()
    held:begin()
    assert.is_true(held:finish("ended", { effect = "done", attempt = 2, failures = 2 },
      { code = "failed", sentence = "s", exit = 3, signal = false }))
    local now = decoded()
    assert.equal("finished", now.status)
    assert.is_number(now.time_finished)
    assert.same({ "ended", "failed", "s", 3, 2, 2 }, { now.moonrunner.state, now.moonrunner.outcome,
      now.moonrunner.sentence, now.moonrunner.exit, now.moonrunner.attempt, now.moonrunner.failures })
    assert.is_nil(now.moonrunner.signal)
    assert.is_nil(now.moonrunner.set_aside)
  end)

  it("stays `waiting` between two attempts, and says when the message was set aside", function()
    held:begin()
    held:finish("waiting", { effect = "again", attempt = 2, failures = 2 }, { code = "fetch_failed", sentence = "s" })
    assert.same({ "waiting", "waiting" }, { decoded().status, decoded().moonrunner.state })
    assert.is_nil(decoded().time_finished)
    held:finish("waiting", { effect = "set_aside", attempt = 2, failures = 2 }, { code = "never_fits", sentence = "s" })
    assert.is_true(decoded().moonrunner.set_aside)
  end)

  it("is written again when others wrote meanwhile, and loses nothing of theirs", function()
    local put_if, others = store.put_if, 3
    store.put_if = function(...)
      if others > 0 then
        others = others - 1
        world:write_document(KEY, (text():gsub('"unknown": ', ('"by_others_%d": 1, "unknown": '):format(others))))
      end
      return put_if(...)
    end
    assert.equal("running", held:begin())
    local now = decoded()
    assert.same({ "running", 1, 1, 1 }, { now.status, now.by_others_0, now.by_others_1, now.by_others_2 })
  end)

  it("gives up when others never stop writing", function()
    local tries = 0
    store.put_if = function()
      tries = tries + 1
      return nil, errors.new("store.changed", "again")
    end
    local state, err = held:begin()
    assert.is_nil(state)
    assert.equal("store.changed", err.code)
    assert.is_true(tries > 1 and tries < 100)
  end)

  describe("that is watched", function()
    -- Each look: what others do before it. After the last one the watching task is cancelled.
    local function watch(looks)
      local stopped, look, now = 0, 0, real_monotonic()
      local task
      host.time.monotonic = function() return now end -- luacheck: ignore 122
      host.time.sleep = function(ms) -- luacheck: ignore 122
        look, now = look + 1, now + ms
        if not looks[look] then
          task:cancel()
        else
          looks[look]()
        end
        return real_sleep(0)
      end
      held:begin()
      task = host.task.start(held.watch, held, function() stopped = stopped + 1 end)
      task:await_end()
      return stopped, look
    end

    it("sees that the user has stopped the job, and looks no further", function()
      local stopped, looks = watch({ function() end, function() write_status("stopped") end, function() end })
      assert.same({ 1, 2 }, { stopped, looks })
      assert.equal("stopped", decoded().status)
    end)

    it("takes a document that is gone for no stop", function()
      local stopped, looks = watch({ function() world:delete_document(KEY) end, function() end, function() end })
      assert.same({ 0, 4 }, { stopped, looks })
      assert.is_nil(world.place:stat("meta/" .. KEY))
    end)

    it("is refreshed every third look, and is not written in between", function()
      local inodes, ages = {}, {}
      local function note()
        inodes[#inodes + 1] = world.place:stat("meta/" .. KEY).inode
        ages[#ages + 1] = decoded().moonrunner.alive
      end
      watch({ note, note, note, note, note, note, note })
      assert.equal(inodes[1], inodes[3])
      assert.is_true(inodes[3] ~= inodes[4])
      assert.equal(inodes[4], inodes[6])
      assert.is_true(inodes[6] ~= inodes[7])
      assert.is_true(ages[7] >= ages[1])
    end)

    it("is looked at again after a look that failed", function()
      local read_document = store.read_document
      local stopped, looks = watch({
        function()
          store.read_document = function() return nil, errors.new("file.io", "broken") end
        end,
        function()
          store.read_document = read_document
          write_status("stopped")
        end,
      })
      assert.same({ 1, 2 }, { stopped, looks })
    end)
  end)
end)
