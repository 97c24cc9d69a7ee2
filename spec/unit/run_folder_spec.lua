local run_folder = require "run_folder"
local spec_folder = require "spec_folder"

describe("the folder of a run", function()
  local place, opened

  before_each(function()
    place, opened = spec_folder.make(), {}
  end)

  after_each(function()
    fault.reset()
    for _, parts in ipairs(opened) do
      parts.lock:release()
      for _, name in ipairs({ "working", "jobs", "environments", "traces" }) do
        parts[name]:close()
      end
    end
    place:remove()
  end)

  local function make()
    local parts = assert(run_folder.make(place:at("w")))
    opened[#opened + 1] = parts
    return parts
  end

  -- Its process is gone: nothing of it is left but its files.
  local function die(parts)
    parts.lock:release()
    place:write("w/runs/" .. parts.run .. "/jobs/1/file", "x")
  end

  local function runs()
    local names = {}
    for _, entry in ipairs(assert(host.file.root:open(place:at("w/runs"))):list()) do
      names[#names + 1] = entry.name
    end
    return names
  end

  it("is private, locked, and there from the first moment under its own name only", function()
    local parts = make()
    assert.matches("^%x%x%x%x%x%x%x%x$", parts.run)
    assert.same({ parts.run }, runs())
    assert.equal(448, place:stat("w/runs/" .. parts.run).mode) -- 0700
    local lock, err = host.file.root:lock(place:at("w/runs/" .. parts.run .. "/lock"))
    assert.is_nil(lock)
    assert.equal("file.locked", err.code)
  end)

  it("goes when the run ends, and takes nothing of others with it", function()
    local first, second = make(), make()
    run_folder.remove(first)
    assert.same({ second.run }, runs())
    assert.is_table(place:stat("w/environments"))
  end)

  it("of a dead run is removed; a living one stays", function()
    local living, dead = make(), make()
    die(dead)
    run_folder.clean(living.working)
    assert.same({ living.run }, runs())
    assert.equal("directory", place:stat("w/runs/" .. living.run .. "/jobs").kind)
  end)

  it("of a dead run goes only after its processes have been ended", function()
    local living, dead = make(), make()
    die(dead)
    local process = assert(host.process.spawn({
      path = "/bin/sleep", argv = { "sleep", "600" }, env = { MOONRUNNER_RUN = dead.run }, dir = living.working,
    }))
    run_folder.clean(living.working)
    assert.equal(9, process:wait().signal)
    assert.same({ living.run }, runs())
  end)

  it("that can not be made says so and leaves nothing", function()
    place:write("file", "x")
    local parts, err = run_folder.make(place:at("file/w"))
    assert.is_nil(parts)
    assert.matches("^working%-dir: ", err.message)
    fault.reset()
    run_folder.remove(make())
    local points = fault.names()
    table.sort(points)
    for _, point in ipairs(points) do
      for nth = 1, 12 do
        fault.reset()
        fault.arm(point, nth)
        parts, err = run_folder.make(place:at("w"))
        local fired = fault.count(point) >= nth
        fault.reset()
        assert.is_true(parts ~= nil or type(err.message) == "string")
        if parts then
          opened[#opened + 1] = parts
          run_folder.remove(parts)
        end
        assert.same({}, runs())
        if not fired then
          break
        end
      end
    end
  end)
end)
