-- Environments and helper programs, with an interpreter that is a shell script (spec/support/job_world.lua).
local command = require "command"
local python_env = require "python_env"
local worlds = require "job_world"

describe("a Python environment", function()
  local world, environments, interpreter

  before_each(function()
    world = worlds.open()
    environments = world.parts.environments
    interpreter = assert(python_env.find_interpreter("3", environments))
  end)

  after_each(function()
    fault.reset()
    world:close()
  end)

  local function builds()
    local _, count = (world.place:read("builds") or ""):gsub("built\n", "")
    return count
  end

  local function ensure(...)
    return python_env.ensure(environments, interpreter, { ... })
  end

  it("is built once for the same requirements, and again for others", function()
    local folder = assert(ensure("a==1", "b"))
    assert.equal(folder, ensure("a==1", "b"))
    assert.equal(1, builds())
    assert.equal("file", host.file.root:stat(folder .. "/bin/python").kind)
    assert.is_true(folder ~= ensure("a==2", "b"))
    assert.equal(2, builds())
  end)

  it("is another one for another interpreter or version", function()
    local folder = ensure("a")
    interpreter = { path = interpreter.path, version = "3.11.8" }
    assert.is_true(folder ~= ensure("a"))
  end)

  it("is built once when many jobs ask for it at the same time", function()
    local tasks, folders = {}, {}
    for index = 1, 8 do
      tasks[index] = host.task.start(ensure, "a")
    end
    for index, task in ipairs(tasks) do
      folders[index] = assert(task:join())
    end
    assert.equal(1, builds())
    assert.equal(folders[1], folders[8])
  end)

  it("that a killed build left half-made is made anew", function()
    local folder = ensure("a")
    assert(host.file.root:unlink(folder .. "/.complete"))
    assert(host.file.root:create(folder .. "/half", "x", "0644"))
    assert.equal(folder, ensure("a"))
    assert.is_nil((host.file.root:stat(folder .. "/half")))
    assert.equal(2, builds())
  end)

  it("whose build fails says what the installer said, and is tried again by the next one", function()
    local folder, err, log = ensure("broken")
    assert.is_nil(folder)
    assert.equal("environment.build", err.code)
    assert.is_true(err.retryable)
    assert.matches("exit status 1: no package broken$", err.message)
    assert.equal("no package broken\n", log)
    ensure("broken")
    assert.equal(2, builds())
  end)

  it("whose build is cancelled leaves no program, no lock, and can be built", function()
    local waits = cancel_at_each_yield(function()
      environments:remove_tree("x")
      return ensure("a")
    end, function()
      for _, entry in ipairs(environments:list()) do
        assert(environments:remove_tree(entry.name))
      end
    end)
    assert.is_true(waits >= 2)
    assert.is_string(ensure("a"))
  end)

  for _, requirement in ipairs({ "-e .", "--index-url=http://x", "-r file", "", "a\nb" }) do
    it(("is not built from %q: that is no package"):format(requirement), function()
      local folder, err = ensure("fine", requirement)
      assert.is_nil(folder)
      assert.is_false(err.retryable)
      assert.matches("only packages can be required", err.message)
      assert.equal(0, builds())
    end)
  end
end)

describe("the interpreter of a job", function()
  local world, scratch

  before_each(function()
    world = worlds.open()
    scratch = world.parts.environments
  end)

  after_each(function()
    world:close()
  end)

  local function add(name, text)
    world.place:write("bin/" .. name, "#!/bin/sh\n" .. text)
    assert(host.file.root:chmod(world.place:at("bin/" .. name), "0755"))
  end

  it("is the one that the message names, else any Python 3", function()
    add("python3.9", "echo 3.9.1; echo /opt/python3.9")
    assert.same({ path = "/opt/python3.9", version = "3.9.1" }, (python_env.find_interpreter("3.9.18", scratch)))
    assert.equal("3.11.7", python_env.find_interpreter("3.8", scratch).version)
    assert.equal("3.11.7", python_env.find_interpreter(false, scratch).version)
  end)

  it("is passed over when it does not work or is none", function()
    add("python3.9", "exit 1")
    add("python3.10", "echo hello")
    assert.equal("3.11.7", python_env.find_interpreter("3.9", scratch).version)
    assert.equal("3.11.7", python_env.find_interpreter("3.10", scratch).version)
  end)

  it("that is missing is named with what was looked for, and why the one that is there does not do", function()
    add("python3", "echo no such version >&2; exit 127")
    set_environment("PATH", world.place:at("bin"))
    local found, err = python_env.find_interpreter("3.7", scratch)
    assert.is_nil(found)
    assert.equal("environment.interpreter", err.code)
    assert.matches("^no Python 3%.7: looked for python3%.7 and python3 in PATH; .*exit status 127: no such version$",
      err.message)
    assert(host.file.root:unlink(world.place:at("bin/python3")))
    found, err = python_env.find_interpreter(false, scratch)
    assert.is_nil(found)
    assert.equal("no Python 3: looked for python3 in PATH", err.message)
  end)

  it("leaves no scratch files", function()
    python_env.find_interpreter("3", scratch)
    assert.same({}, scratch:list())
  end)
end)

describe("a helper program", function()
  local world, dir

  before_each(function()
    world = worlds.open()
    dir = world.parts.environments
  end)

  after_each(function()
    fault.reset()
    world:close()
  end)

  local function run(text)
    return command.run({ path = "/bin/sh", argv = { "sh", "-c", text }, env = {}, dir = dir, log = "log" })
  end

  it("is found in PATH when it is a program, and the first one counts", function()
    world.place:write("bin/no-program", "x")
    assert.is_nil(command.find("no-program"))
    assert.is_nil(command.find("nothing-of-this-name"))
    assert.equal(world.place:at("bin/python3"), command.find("python3"))
    assert.matches("^/.*/sh$", command.find("sh"))
  end)

  it("gives back what it printed itself, not what was in the log before", function()
    assert.equal("one\n", run("echo one"))
    assert.equal("two\nerror\n", run("echo two; echo error >&2"))
    assert.equal("one\ntwo\nerror\n", world.place:read("working/environments/log"))
  end)

  it("that fails is told by its status or signal and the last line that it printed", function()
    for text, ending in pairs({
      ["echo first; echo last; echo; exit 3"] = "exit status 3: last",
      ["exit 4"] = "exit status 4: it printed nothing",
      ["kill -9 $$"] = "signal 9: it printed nothing",
    }) do
      local output, err = run(text)
      assert.is_nil(output)
      assert.equal("environment.build", err.code)
      assert.equal("sh: " .. ending, err.message)
      dir:unlink("log")
    end
  end)

  it("that prints much gives back its end", function()
    local output = run("yes x | head -c 200000; echo; echo end")
    assert.equal(64 * 1024, #output)
    assert.matches("end\n$", output)
  end)

  it("is stopped when its task is cancelled or out of time", function()
    local _, err = host.task.deadline(50, run, "trap '' TERM; sleep 600")
    assert.equal("task.deadline", err.code)
    local waits = cancel_at_each_yield(function() return run("sleep 0.05") end)
    assert.is_true(waits >= 1)
  end)
end)
