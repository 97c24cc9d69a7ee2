-- host.process: programs as Lua sees them. The trees and the bombs are tested in C (spec/c/test_process_*.c).

local root = host.file.root
local LIMIT = 60000 -- ms: far more than anything here takes

local function started(f, ...)
  return assert(host.task.start(f, ...))
end

describe("a process", function()
  local dir, folder

  before_each(function()
    fault.reset()
    folder = "/tmp/moonrunner-process-" .. host.random.hex(8)
    assert(root:mkdir(folder, 448))
    dir = assert(root:open(folder))
  end)

  after_each(function()
    fault.reset()
    dir:close()
    assert(root:remove_tree(folder))
  end)

  local function options(argv, more)
    local o = { path = argv[1], argv = argv, env = { PATH = "/usr/bin:/bin" }, dir = dir, output = "output" }
    for name, value in pairs(more or {}) do
      o[name] = value
    end
    return o
  end

  local function shell(script, more)
    return host.process.spawn(options({ "/bin/sh", "-c", script }, more))
  end

  local function output()
    return assert(dir:read("output", 100000))
  end

  local function wait_output(text)
    local deadline = host.time.monotonic() + LIMIT
    while not (dir:stat("output") and output():find(text, 1, true)) do
      assert(host.time.monotonic() < deadline)
      host.time.sleep(2)
    end
  end

  it("gets its arguments, its folder, and no environment but its own", function()
    local process = assert(host.process.spawn(options({ "/usr/bin/env", "-v" }, { env = { B = "two words", A = "" } })))
    assert.is_true(process.pid > 0)
    assert.equal(0, process:wait().code)
    assert.equal("A=\nB=two words\n", output())
    local argv = { "/bin/sh", "-c", "pwd; printf '[%s]' \"$@\"", "x", "a b", "", "$HOME\n" }
    assert.equal(0, assert(host.process.spawn(options(argv, { output = "second" }))):wait().code)
    assert.equal(folder .. "\n[a b][][$HOME\n]", assert(dir:read("second", 1000)))
  end)

  it("appends stdout and stderr to its output file in true order", function()
    assert(dir:create("output", "before\n", 384))
    assert(shell("echo one; echo two >&2; echo three")):wait()
    assert.equal("before\none\ntwo\nthree\n", output())
  end)

  it("writes binary output of any length without a newline", function()
    assert.equal(0, assert(shell("head -c 3000000 /dev/urandom")):wait().code)
    assert.equal(3000000, dir:stat("output").size)
  end)

  it("tells how it ended: code or signal, times, usage", function()
    local ending = assert(assert(shell("exit 7", { output = false or nil })):wait())
    assert.equal(7, ending.code)
    assert.is_nil(ending.signal)
    assert.is_false(ending.stopped)
    assert.is_false(ending.killed)
    assert.equal(0, ending.strays)
    assert.is_true(ending.max_rss > 0 and ending.cpu_ms >= 0)
    assert.is_true(ending.started <= ending.ended and ending.ended <= ending.emptied)
    assert.is_true(math.abs(ending.started - host.time.wall()) < LIMIT)
    ending = assert(shell("kill -SEGV $$")):wait()
    assert.equal(11, ending.signal)
    assert.is_nil(ending.code)
  end)

  it("can be waited for by several tasks, and again after its end", function()
    local process = assert(shell("cat <&0; exit 3"))
    local other = started(function()
      return process:wait().code
    end)
    assert.equal(3, process:wait().code)
    assert.equal(3, other:join())
    assert.equal(3, process:wait().code)
    process:stop(0) -- of no effect
  end)

  it("is not started, and says which step failed", function()
    local process, err = host.process.spawn(options({ "/x/python" }))
    assert.is_nil(process)
    assert.equal("process.exec", err.code)
    assert.equal("/x/python: exec: No such file or directory", err.message)
    assert.is_false(err.retryable)
  end)

  it("keeps to its limits", function()
    assert(shell("ulimit -n; ulimit -c", { limits = { nofile = 77, core = 0 } })):wait()
    assert.equal("77\n0\n", output())
  end)

  it("is ended with all daemons when it is stopped", function()
    local process = assert(shell("trap '' TERM; setsid sleep 1000 & echo ready; while :; do sleep 0.01; done"))
    wait_output("ready")
    process:stop(3600000)
    process:stop(20)
    local ending = assert(process:wait())
    assert.equal(9, ending.signal)
    assert.is_true(ending.stopped and ending.killed)
  end)

  it("is over when its main program ends: daemons are asked, then killed after the grace", function()
    local script = "setsid sh -c 'trap \"\" TERM; echo ready; while :; do sleep 0.01; done' & " ..
      "until grep -q ready output; do sleep 0.01; done; exit 4"
    local ending = assert(shell(script, { grace = 20 })):wait()
    assert.equal(4, ending.code)
    assert.is_true(ending.strays >= 1)
    assert.is_true(ending.killed)
    assert.is_false(ending.stopped)
  end)

  it("lives on when a wait for it is cancelled", function()
    local process = assert(shell("sleep 1000"))
    local waiting = started(function()
      return process:wait()
    end)
    host.time.sleep(1)
    waiting:cancel()
    local _, err = waiting:join()
    assert.equal("task.cancelled", err.code)
    _, err = host.task.deadline(1, process.wait, process)
    assert.equal("task.deadline", err.code)
    process:stop(0)
    assert.equal(9, process:wait().signal)
  end)

  it("does not outlive its task, whoever still holds it", function()
    local process = started(function()
      return assert(shell("trap '' TERM; while :; do sleep 0.01; done"))
    end):join()
    assert.equal(9, process:wait().signal)
    local _, err = started(function()
      process = assert(shell("sleep 1000"))
      error("broken")
    end):join()
    assert.equal("task.raised", err.code)
    assert.equal(9, process:wait().signal)
  end)

  it("that nobody holds is ended with its task", function()
    started(function()
      assert(shell("sleep 1000"))
      collectgarbage()
      collectgarbage()
    end):join()
  end)

  it("can be started, waited for and stopped by a task that is cancelled at any of its waits", function()
    local n = cancel_at_each_yield(function()
      local process, err = shell("sleep 0.01")
      if not process then
        return nil, err
      end
      local ending, why = process:wait()
      if not ending then
        process:stop(0)
        host.task.shield(LIMIT, process.wait, process)
        return nil, why
      end
      return assert(shell("exit 0")):wait()
    end)
    assert.is_true(n >= 2)
  end)

  it("is not started in a task that was cancelled", function()
    local task = started(function()
      host.time.sleep(LIMIT)
      return shell("echo started")
    end)
    task:cancel()
    local _, err = task:join()
    assert.equal("task.cancelled", err.code)
    assert.is_nil(dir:stat("output"))
  end)

  it("refuses what no program can be given as an error, and what is wrongly written by raising", function()
    local refused = {
      "a NUL byte in the environment variable A", { env = { A = "x\0y" } },
      "an environment variable of the name A=B", { env = { ["A=B"] = "x" } },
      "an environment variable of the name ", { env = { [""] = "x" } },
      "an argument with a NUL byte", { argv = { "sh", "a\0b" } },
    }
    for i = 1, #refused, 2 do
      local process, err = shell("true", refused[i + 1])
      assert.is_nil(process)
      assert.equal("process.spawn", err.code)
      assert.is_false(err.retryable)
      assert.equal("/bin/sh: " .. refused[i] .. " can not be given to a program", err.message)
    end
    local wrong = {
      "argv", { argv = {} }, "argv%[2%]", { argv = { "sh", 1 } }, "env", { env = { A = 1 } }, "env", { env = false },
      "limits", { limits = { files = 1 } }, "limits.nofile", { limits = { nofile = -1 } },
      "host.file.dir", { dir = "/tmp" }, "path", { path = 7 }, "grace", { grace = -1 },
    }
    for i = 1, #wrong, 2 do
      local ok, message = pcall(shell, "true", wrong[i + 1])
      assert.is_false(ok)
      assert.matches(wrong[i], message)
    end
    assert.is_nil(dir:stat("output"))
  end)

  it("never opens its output through a link, and never waits for a FIFO", function()
    assert(dir:symlink("elsewhere", "output"))
    local process, err = shell("echo x")
    assert.is_nil(process)
    assert.equal("file.not_regular", err.code)
    assert.is_nil(dir:stat("elsewhere"))
    assert(dir:unlink("output"))
    assert.equal(0, assert(shell("mkfifo output", { output = "log" })):wait().code)
    process, err = shell("echo x")
    assert.is_nil(process)
    assert.is_not_nil(err)
  end)

  it("leaves nothing when any call on the way fails", function()
    local function run()
      local process, err = shell("exit 0")
      if not process then
        return nil, err
      end
      return process:wait()
    end
    assert.equal(0, assert(run()).code)
    local tried = 0
    for _, name in ipairs(fault.names()) do
      if name:find("^process%.") and name ~= "process.children" then
        fault.reset()
        fault.arm(name, 1)
        local ending, err = run()
        assert.is_nil(ending, name)
        assert.is_not_nil(err.message)
        tried = tried + 1
      end
    end
    assert.is_true(tried >= 13)
  end)
end)

describe("a dead run", function()
  it("is ended by its mark", function()
    local dir = assert(root:open("/"))
    local process = assert(host.process.spawn({
      path = "/bin/sh", argv = { "sh", "-c", "setsid sleep 1000 & setsid sleep 1000 & wait" }, dir = dir,
      env = { PATH = "/usr/bin:/bin", MOONRUNNER_RUN = "0dead000" },
    }))
    dir:close()
    assert.is_true(assert(host.process.end_run("0dead000", LIMIT)) >= 1)
    assert.equal(0, assert(host.process.end_run("0dead000", LIMIT)))
    assert.equal(9, process:wait().signal)
  end)

  it("is named by hexadecimal digits", function()
    assert.has_error(function() host.process.end_run("", 1) end)
    assert.has_error(function() host.process.end_run("x=y", 1) end)
  end)
end)
