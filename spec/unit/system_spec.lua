-- host.system: this process, and whether another one lives.
describe("host.system", function()
  after_each(function()
    fault.reset()
  end)

  it("tells who this process is", function()
    local identity = host.system.identity()
    assert.is_true(identity.pid > 0)
    assert.is_truthy(identity.start_time:find("^%d+$"))
    assert.is_truthy(identity.pid_namespace:find("^%d+$"))
    assert.is_truthy(identity.boot_id:find("^%x+$"))
    assert.equal(32, #identity.boot_id)
    assert.is_boolean(identity.initial_pid_namespace)
    local kernel = assert(io.open("/proc/sys/kernel/hostname"))
    assert.equal(kernel:read("*l"), identity.hostname)
    kernel:close()
  end)

  it("tells when a process was started, and that another is gone", function()
    local identity = host.system.identity()
    assert.same({ identity.start_time, true }, { host.system.process_start_time(identity.pid) })
    local start, alive = host.system.process_start_time(2 ^ 22 + 1) -- above the kernel's largest
    assert.is_nil(start)
    assert.is_false(alive)
  end)

  it("counts a zombie as gone", function()
    -- A parent that never reaps its child.
    local program = "import os, time; child = os.fork(); child or os._exit(0); "
      .. "print(child, os.getpid(), flush=True); time.sleep(60)"
    local pipe = assert(io.popen(("exec python3 -c '%s'"):format(program)))
    local pid, parent = pipe:read("*n", "*n")
    local start, alive
    repeat
      host.time.sleep(1)
      start, alive = host.system.process_start_time(pid)
    until not alive
    local stat = io.open(("/proc/%d/stat"):format(pid))
    local state = stat and stat:read("*a"):match("%) (%u)")
    if stat then
      stat:close()
    end
    os.execute("kill " .. parent)
    pipe:close()
    assert.is_nil(start)
    assert.equal("Z", state)
  end)

  it("tells a process that it may not look at from one that is gone", function()
    fault.arm("system.read", 1)
    local start, alive = host.system.process_start_time(1)
    assert.is_nil(start)
    assert.is_true(alive)
  end)

  it("takes process ids only", function()
    for _, id in ipairs({ 0, -1, 1.5, 2 ^ 31 }) do
      assert.has_error(function() host.system.process_start_time(id) end)
    end
  end)
end)
