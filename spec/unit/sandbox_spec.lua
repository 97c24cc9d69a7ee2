-- What a script can reach, and what a runaway script costs: its own task, and nothing else.

local function run(source, slice)
  return engine_run({ source = source, sandbox = true, slice = slice })
end

describe("a script", function()
  it("has no way out of its allow-list", function()
    for _, name in ipairs({
      "os", "io", "debug", "jit", "ffi", "package", "coroutine", "load", "loadstring", "loadfile", "dofile", "getfenv",
      "setfenv", "newproxy", "collectgarbage", "_G", "module", "gcinfo",
    }) do
      local ended = run("return " .. name)
      assert.is_true(ended.failed, name)
      assert.matches('there is no name "' .. name .. '" here', ended.message)
    end
    assert.same({ "nil", "nil", "nil" }, run("return string.dump, math.randomseed, math.random").results)
    assert.same({ "nil", "nil" }, run("return host.bundle, host.scheduler").results)
  end)

  it("cannot make a variable that all jobs would share", function()
    local ended = run("result = 1")
    assert.is_true(ended.failed)
    assert.matches('chunk:1: "result" would be a global variable', ended.message)
  end)

  it("changes its own copy of a library, and nobody else's", function()
    local source = "string.format = nil; table.insert = nil; host.time.sleep = nil\n"
      .. "local scope = require('scope')\n"
      .. "return ('%d'):format(5), scope.all({function() return 'alive' end})[1]"
    assert.same({ "5", "alive" }, run(source).results)
  end)

  it("cannot reach what all strings share", function()
    assert.same({ "false" }, run("return getmetatable('')").results)
  end)

  it("requires trusted modules, and says what is not there", function()
    assert.same({ "table" }, run("return type(require('scope'))").results)
    for _, name in ipairs({ "nothing.like.this", "../host/main", "/etc/passwd", "", "a..b", "ffi", "jit.util" }) do
      local ended = run(("require(%q)"):format(name))
      assert.is_true(ended.failed, name)
      assert.matches('require', ended.message, 1, true)
    end
  end)

  it("sees nothing of the full libraries through a trusted module", function()
    local source = "local json = require('json') return pcall(require, 'io'), type(json.encode), pcall(require, 'os')"
    assert.same({ "false", "function", "false" }, { unpack(run(source).results, 1, 3) })
  end)

  it("may use xpcall, whose handler runs after unwinding", function()
    local source = "return xpcall(function(a) error('x' .. a, 0) end, function(m) return 'handled ' .. m end, 1)"
    assert.same({ "false", "handled x1" }, run(source).results)
    assert.same({ "true", "1", "2" }, run("return xpcall(function(...) return ... end, print, 1, 2)").results)
    assert.same({ "false", "in handler" }, run("return xpcall(error, function() error('in handler', 0) end)").results)
  end)

  it("waits across pcall and xpcall", function()
    assert.same({ "true", "true" }, run("return pcall(host.time.sleep, 1)").results)
    assert.same({ "true", "true" }, run("return xpcall(host.time.sleep, print, 1)").results)
  end)
end)

describe("a script that runs on without waiting", function()
  local runaways = {
    ["loops"] = "while true do end",
    ["loops under pcall"] = "while true do pcall(function() while true do end end) end",
    ["loops under nested pcall"] = "local function f(n) while true do if n > 0 then pcall(f, n - 1) end end end f(50)",
    ["loops under xpcall"] = "while true do xpcall(function() while true do end end, function() end) end",
    ["loops in an xpcall handler"] = "xpcall(error, function() while true do end end) while true do end",
    ["loops in a gsub callback"] = "return pcall(string.gsub, 'aaa', 'a', function() while true do end end)",
    ["loops in a sort comparator"] = "table.sort({3, 2, 1, 5}, function() while true do end end)",
    ["loops in a metamethod"] = "local t = setmetatable({}, {__index = function() while true do end end}) return t.x",
    ["loops in __tostring"] = "print(setmetatable({}, {__tostring = function() while true do end end}))",
    ["recurses for ever"] = "local function f() return f() end f()",
    ["loops in a shield"] = "while true do pcall(host.task.shield, 1000, function() while true do end end) end",
    ["loops in a child of a deadline"] = "host.task.deadline(10, function() while true do end end)",
    ["loops over errors"] = "while true do pcall(error, 'x') end",
    ["calls C again and again"] = "local s = ('x'):rep(1000) while true do s:find('y', 1, true) end",
  }
  for what, source in pairs(runaways) do
    it("fails alone when it " .. what, function()
      local ended = run(source, 20)
      assert.is_true(ended.failed)
      assert.equal("task.overran", ended.code)
      assert.matches("^chunk:1: ran more than 20 ms without waiting", ended.message)
      assert.matches("stack traceback", ended.traceback)
    end)
  end

  it("fails while its siblings go on, and its scope hears of it", function()
    local ended = run(
      [[
      local scope = require("scope")
      local lived = 0
      local _, err = scope.run(function(s)
        s:start(function() while true do pcall(function() while true do end end) end end)
        host.time.sleep(60000)
        lived = lived + 1
        return true
      end)
      return err.code, lived, host.time.sleep(1)
      ]],
      20
    )
    assert.same({ "task.overran", "1", "true" }, ended.results)
  end)

  it("is not meant when much work is split by waits", function()
    local ended = run(
      [[
      local sum = 0
      for i = 1, 12 do
        for j = 1, 100000 do sum = sum + j % 7 end
        host.time.sleep(0)
      end
      return "done"
      ]],
      20
    )
    assert.same({ "done" }, ended.results)
  end)

  it("ends also a deep recursion with a clean error", function()
    local ended = run("local function f() return 1 + f() end return pcall(f)", 1000)
    assert.equal("false", ended.results[1])
    assert.matches("stack overflow", ended.results[2])
  end)
end)

describe("a bundle", function()
  local folder

  local function write(name, text)
    local file = assert(io.open(folder .. "/" .. name, "w"))
    file:write(text)
    file:close()
  end

  before_each(function()
    folder = os.tmpname()
    os.remove(folder)
    assert(host.file.root:mkdir(folder, 448))
  end)

  after_each(function()
    fault.reset()
    host.file.root:remove_tree(folder)
  end)

  it("is the values of its files by name, and a hash of their contents", function()
    write("one.lua", "local two = require('two') return {value = two.value + 1}")
    write("two.lua", "\239\187\191return {value = 1}")
    write("notes.txt", "not Lua")
    local scripts, hash = host.bundle.open(folder)
    assert.equal(2, scripts.one.value)
    assert.equal(1, scripts.two.value)
    assert.is_nil(scripts.notes)
    assert.matches("^%x+$", hash)
    local _, same = host.bundle.open(folder)
    assert.equal(hash, same)
    write("two.lua", "return {value = 2}")
    local newer, other = host.bundle.open(folder)
    assert.equal(3, newer.one.value)
    assert.equal(2, scripts.one.value)
    assert.is_not.equal(hash, other)
  end)

  it("takes from the shipped folder what its own does not have", function()
    local scripts = assert(host.bundle.open(folder, "scripts"))
    assert.equal("function", type(scripts.handle_job))
    write("handle_job.lua", "return function() return 'own' end")
    assert.equal("own", host.bundle.open(folder, "scripts").handle_job())
  end)

  it("names file and line of what cannot be loaded, and refuses bytecode", function()
    local name = folder:match("[^/]+$")
    local function refused(text, pattern)
      write("broken.lua", text)
      local scripts, err = host.bundle.open(folder)
      assert.is_nil(scripts)
      assert.equal("script.invalid", err.code)
      assert.matches(name:gsub("%p", "%%%0") .. "/broken.lua" .. pattern, err.message)
    end
    refused("local x = \nfor", ":2: ")
    refused("\n\nerror('at load')", ":3: at load")
    refused("return missing", ':1: there is no name "missing" here')
    refused("host.time.sleep(1)", ":1: host.time.sleep cannot wait inside a callback")
    refused(string.dump(function() end), ": .*bytecode")
    refused("require('broken')", ":1: require \"broken\": it requires itself")
  end)

  it("with a runaway top level is refused, and its caller lives on", function()
    write("broken.lua", "while true do end")
    local ended = engine_run({
      source = ("local _, err = host.bundle.open(%q) return err.code, err.message"):format(folder),
      slice = 20,
    })
    assert.equal("script.invalid", ended.results[1])
    assert.matches("broken.lua:1: ran more than 20 ms", ended.results[2])
  end)

  it("that cannot be read is an error, whichever step fails", function()
    write("one.lua", "return 1")
    for _, point in ipairs({ "bundle.list", "bundle.digest", "source.open", "source.read" }) do
      fault.arm(point, 1)
      local scripts, err = host.bundle.open(folder)
      assert.is_nil(scripts, point)
      assert.is_string(err.code, point)
    end
    assert.is_table(host.bundle.open(folder))
    assert.equal("file.not_found", select(2, host.bundle.open(folder .. "/missing")).code)
  end)
end)
