-- Every call of one job that can fail, failing once; and one job cancelled at every place where it waits.
local job_task = require "job_task"
local outcome = require "outcome"
local settle = require "settle"
local worlds = require "job_world"

local PASSES = os.getenv("MOONRUNNER_SOAK") and 1000 or 2 -- of each point that are made to fail
local PROGRAM = "cat ../data; echo weights > ../modeldir/m; echo 7 > ../retval"
local PLACE_OF = { acknowledged = false, again = "ready", handed_back = "ready", set_aside = "aside" }

local function open_files()
  collectgarbage()
  collectgarbage()
  local count = 0
  for _ in ipairs(assert(host.file.root:open("/proc/self/fd")):list()) do
    count = count + 1
  end
  return count
end

local function submit(world)
  return world:submit(PROGRAM, { captures = { world.place:at("data.txt") .. ":data" }, requirements = { "some" } })
end

local function make_world()
  local world = worlds.open()
  world.place:write("data.txt", "captured")
  return world
end

-- Forgets what was built and what was set aside, so that the next job does everything again; and the replaced documents
-- that the store removes after an hour, when an unlink has failed.
local function forget(world)
  for _, name in ipairs({ "queue/.moonrunner/set-aside", "working/environments", "store/studioml-meta/.moonrunner" }) do
    local folder = host.file.root:open(world.place:at(name))
    for _, entry in ipairs(folder and folder:list() or {}) do
      folder:remove_tree(entry.name)
    end
  end
end

-- One job from claim to answer. nil: its message could not even be claimed.
local function run_one(world)
  local claimed, job, err, delivery = pcall(world.take, world)
  if not claimed then
    return nil
  elseif not job then
    return settle.refuse(delivery, err, 3)
  end
  job_task.run(job)
  assert(outcome.is_outcome(job.outcome), "an outcome of the list")
  return world:answer(job), job
end

-- Exactly one answer was given, and the message is where the answer says.
local function check_place(world, how, point)
  local expected = { ready = 0, claimed = 0, aside = 0 }
  local place = how == nil and "ready" or PLACE_OF[how]
  if place then
    expected[place] = 1
  end
  assert.same(expected, world:messages())
  if point ~= "file.unlink" then
    assert.same({}, world:leftovers())
  end
end

describe("a job in which one call fails", function()
  local world

  before_each(function()
    world = make_world()
  end)

  after_each(function()
    fault.reset()
    world:close()
  end)

  local function points()
    submit(world)
    world.queue = world.queue or assert(world.backend:open("q"))
    fault.reset()
    assert.equal("acknowledged", run_one(world))
    local names = fault.names()
    fault.reset()
    table.sort(names)
    return names
  end

  -- Returns false when the point is passed less often.
  local function fail(point, nth)
    forget(world)
    submit(world)
    local files = open_files()
    fault.reset()
    fault.arm(point, nth)
    local how = run_one(world)
    local fired = fault.count(point) >= nth
    fault.reset()
    check_place(world, how, point)
    assert.equal(files, open_files())
    while world:messages().ready > 0 do -- a queue that failed is left alone for a moment
      local job
      how, job = run_one(world)
      if how then
        assert.same({ "acknowledged", "succeeded" }, { how, job.outcome.code })
      else
        world.queue.quiet_until = 0
      end
    end
    return fired
  end

  it("ends with an outcome and one answer, leaves nothing behind, and the next one runs", function()
    for _, point in ipairs(points()) do
      for nth = 1, PASSES do
        local ok, fired = pcall(fail, point, nth)
        if not ok then
          error(("%s, pass %d: %s"):format(point, nth, type(fired) == "table" and fired.message or tostring(fired)), 0)
        elseif not fired then
          break
        end
      end
    end
  end)
end)

describe("a job that is cancelled at any place where it waits", function()
  it("goes back to its queue or is over, and leaves nothing behind", function()
    local world = make_world()
    finally(function() world:close() end)
    world.queue = assert(world.backend:open("q"))
    submit(world)
    local how, job
    local waits = cancel_at_each_yield(function()
      how, job = nil, nil
      how, job = run_one(world)
    end, function()
      check_place(world, how)
      assert.is_true(how == "handed_back" or how == "acknowledged", tostring(how))
      assert.equal(how == "handed_back" and "interrupted" or "succeeded", job.outcome.code)
      forget(world)
      if how == "acknowledged" then
        submit(world)
      end
    end)
    assert.is_true(waits > 10)
    assert.equal("succeeded", job.outcome.code)
  end)
end)
