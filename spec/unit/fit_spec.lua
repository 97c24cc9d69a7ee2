-- fit.lua: what fits where.

local fit = require("fit")

local function free(cores, mem, disk, cards)
  return { cores = cores, mem = mem, disk = disk, gpus = cards or {} }
end

local function card(uuid, mem, free_mem, more)
  local made = { uuid = uuid, mem = mem, free_mem = free_mem }
  for name, value in pairs(more or {}) do
    made[name] = value
  end
  return made
end

describe("fit", function()
  it("names the first thing that is missing, with need and have", function()
    local cases = {
      { { cores = 3 }, free(2, 9, 9), { rule = "cores", need = 3, have = 2 } },
      { { cores = 1, mem = 10 }, free(2, 9, 9), { rule = "memory", need = 10, have = 9 } },
      { { disk = 10 }, free(2, 9, 9), { rule = "disk", need = 10, have = 9 } },
      { { gpus = 1 }, free(2, 9, 9), { rule = "gpus", need = 1, have = 0 } },
      { { gpus = 1 }, free(2, 9, 9, { card("a", 40, 39) }), { rule = "gpus", need = 1, have = 0 } },
      { { gpus = 2, gpu_mem = 5 }, free(2, 9, 9, { card("a", 40, 40) }), { rule = "gpus", need = 2, have = 1 } },
      { { gpus = 1, gpu_mem = 50 }, free(2, 9, 9, { card("a", 40, 40) }),
        { rule = "gpu_memory", need = 50, have = 40 } },
      { { gpus = 1 }, free(2, 9, 9, { card("a", 40, 40, { healthy = false }) }),
        { rule = "gpus", need = 1, have = 0 } },
      { { cores = 2, mem = 9, disk = 9 }, free(2, 9, 9), nil },
      { { cores = 1, mem = false, gpus = false }, free(1, 0, 0), nil },
    }
    for i, case in ipairs(cases) do
      assert.are.same(case[3], fit.lacks(case[1], case[2]), "case " .. i)
    end
  end)

  it("places shares on the fullest card that has room, whole cards on free ones", function()
    local cards = { card("a", 40, 40), card("b", 40, 20), card("c", 40, 5) }
    assert.are.same({ "b" }, fit.place({ gpus = 1, gpu_mem = 10 }, free(0, 0, 0, cards)).gpus)
    assert.are.same({ "a" }, fit.place({ gpus = 1 }, free(0, 0, 0, cards)).gpus)
    assert.are.same({ "b", "a" }, fit.place({ gpus = 2, gpu_mem = 10 }, free(0, 0, 0, cards)).gpus)
  end)

  it("takes a placement out, and only out of the copy", function()
    local whole = free(4, 100, 100, { card("a", 40, 40) })
    local copy = fit.take(fit.copy(whole), { cores = 1, mem = 10, disk = 5, gpus = { "a" }, gpu_mem = 15 })
    assert.are.same({ 3, 90, 95, 25 }, { copy.cores, copy.mem, copy.disk, copy.gpus[1].free_mem })
    assert.are.same({ 4, 40 }, { whole.cores, whole.gpus[1].free_mem })
    fit.take(copy, { cores = 0, mem = 0, disk = 0, gpus = { "a" }, gpu_mem = 0 })
    assert.are.equal(0, copy.gpus[1].free_mem)
  end)

  it("places only what its own check accepts, and never more often than there is room", function()
    local seed = 1
    local function random(n)
      seed = (seed * 16807) % 2147483647
      return seed % n
    end
    for _ = 1, 2000 do
      local have = free(random(9), random(100), random(100), { card("a", 40, random(41)), card("b", 40, 40) })
      local needs = { cores = random(5), mem = random(60), disk = random(60), gpus = random(3), gpu_mem = random(30) }
      local n = 0
      local left = fit.copy(have)
      while n < 7 do
        local placement, lack = fit.place(needs, left)
        assert.are.equal(placement == nil, lack ~= nil)
        if not placement then
          break
        end
        assert.is_true(fit.check(left, placement))
        fit.take(left, placement)
        n = n + 1
      end
      assert.are.equal(n, fit.count(needs, have, 7))
    end
  end)

  it("refuses a placement that is no placement", function()
    local have = free(2, 100, 100, { card("a", 40, 40), card("b", 40, 10) })
    local function refused(changed)
      local placement = { cores = 1, mem = 1, disk = 1, gpus = {}, gpu_mem = 0 }
      for name, value in pairs(changed) do
        placement[name] = value
      end
      return fit.check(have, placement) == nil
    end
    assert.is_false(refused({}))
    for _, wrong in ipairs({
      { cores = 3 }, { cores = -1 }, { cores = 0.5 }, { cores = "1" }, { mem = 101 }, { mem = 0 / 0 },
      { disk = math.huge }, { gpus = "a" }, { gpus = { "z" } }, { gpus = { "b" } }, { gpus = { {} } },
      { gpus = { "a", "a" }, gpu_mem = 1 }, { gpu_mem = 41, gpus = { "a" } },
    }) do
      assert.is_true(refused(wrong))
    end
    assert.is_nil((fit.check(have, "here")))
  end)

  it("knows whole numbers", function()
    for _, right in ipairs({ 0, 1, 2 ^ 53 }) do
      assert.is_true(fit.is_count(right))
    end
    for _, wrong in ipairs({ -1, 0.5, 0 / 0, math.huge, 2 ^ 54, "1", {} }) do
      assert.is_false(fit.is_count(wrong))
    end
  end)
end)
