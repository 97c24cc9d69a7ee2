-- scope.lua: what is started together ends together.

local scope = require("scope")

local function sleeper(trail, name)
  return function()
    local ok, err = host.time.sleep(60000)
    table.insert(trail, name .. " " .. (err and err.code or "slept"))
    return ok, err
  end
end

describe("a scope", function()
  it("returns the body's results when all children have ended", function()
    local trail = {}
    local a, b = scope.run(function(s, x)
      s:start(function()
        host.time.sleep(5)
        table.insert(trail, "child")
      end)
      table.insert(trail, "body")
      return x, "second"
    end, 42)
    assert.same({ 42, "second" }, { a, b })
    assert.same({ "body", "child" }, trail)
  end)

  it("cancels the others when one fails, and returns that failure when they have ended", function()
    local trail = {}
    local result, err = scope.run(function(s)
      s:start(sleeper(trail, "sibling"))
      s:start(function()
        return nil, { code = "file.full", message = "no room" }
      end)
      return sleeper(trail, "body")()
    end)
    assert.is_nil(result)
    assert.equal("file.full", err.code)
    assert.same({ "body task.cancelled", "sibling task.cancelled" }, trail)
  end)

  it("turns what a child raises into its failure", function()
    local result, err = scope.run(function(s)
      s:start(function()
        error("broken")
      end)
      return host.time.sleep(60000)
    end)
    assert.is_nil(result)
    assert.equal("task.raised", err.code)
    assert.matches("scope_spec.lua:%d+: broken", err.message)
  end)

  it("waits for a child's shielded clean-up before it returns", function()
    local cleaned = false
    local _, err = scope.run(function(s)
      s:start(function()
        host.time.sleep(60000)
        host.task.shield(10000, host.time.sleep, 5)
        cleaned = true
      end)
      host.time.sleep(1)
      return nil, { code = "internal", message = "body fails" }
    end)
    assert.equal("body fails", err.message)
    assert.is_true(cleaned)
  end)

  it("lets the body end a helper early without failing", function()
    local result, err = scope.run(function(s)
      local helper = s:start(function()
        return host.time.sleep(60000)
      end)
      host.time.sleep(1)
      helper:cancel()
      return "done"
    end)
    assert.is_nil(err)
    assert.equal("done", result)
  end)

  it("does not hide that a dismissed helper is broken", function()
    local _, err = scope.run(function(s)
      local helper = s:start(function()
        host.time.sleep(60000)
        error("broken clean-up")
      end)
      host.time.sleep(1)
      helper:cancel()
    end)
    assert.matches("broken clean%-up", err.message)
  end)

  it("cancels its children when the caller is cancelled or out of time", function()
    local trail = {}
    local result, err = host.task.deadline(5, scope.run, function(s)
      s:start(sleeper(trail, "child"))
      return sleeper(trail, "body")()
    end)
    assert.is_nil(result)
    assert.equal("task.deadline", err.code)
    assert.same({ "body task.deadline", "child task.deadline" }, trail)
  end)

  it("may be nested", function()
    local result = scope.run(function(outer)
      outer:start(host.time.sleep, 1)
      return scope.run(function(inner)
        local child = inner:start(function()
          host.time.sleep(1)
          return "inner"
        end)
        return child:join()
      end)
    end)
    assert.equal("inner", result)
  end)

  it("leaves nothing when it is cancelled, wherever it waits", function()
    local n = cancel_at_each_yield(function()
      return scope.run(function(s)
        local a = s:start(function()
          host.time.sleep(1)
          return host.task.shield(1000, host.time.sleep, 1)
        end)
        s:start(function()
          return scope.run(function(inner)
            inner:start(host.time.sleep, 2)
            return host.time.sleep(1)
          end)
        end)
        return a:join()
      end)
    end)
    assert.is_true(n >= 6)
  end)
end)

describe("all", function()
  it("runs functions side by side and keeps their order", function()
    local results = scope.all({
      function()
        host.time.sleep(5)
        return "slow"
      end,
      function()
        return "fast"
      end,
    })
    assert.same({ "slow", "fast" }, results)
  end)

  it("stops with the first failure", function()
    local results, err = scope.all({
      function()
        return host.time.sleep(60000)
      end,
      function()
        return nil, { code = "file.full", message = "no room" }
      end,
    })
    assert.is_nil(results)
    assert.equal("file.full", err.code)
  end)
end)
