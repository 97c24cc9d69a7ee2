-- A whole host in one task: intake, decision core, bookings, jobs and answers.
local worlds = require "job_world"

describe("a host", function()
  local world

  before_each(function()
    world = worlds.open({ ["limit.idle-duration"] = 100 })
  end)

  after_each(function()
    fault.reset()
    world:close()
  end)

  -- Nothing may be booked, and nothing may be claimed, when a host has ended.
  local function check_end()
    local account = host.account.read()
    assert.same(account.total, account.free)
    assert.equal(0, world:messages().claimed)
    assert.same({}, world:leftovers())
  end

  local function run()
    local ok, err = world:runner():run()
    check_end()
    return ok, err
  end

  local function wait_until(condition)
    repeat
      host.time.sleep(1)
    until condition()
  end

  it("runs all jobs of all queues, and ends when it has been idle for long enough", function()
    local keys = {}
    for index = 1, 6 do
      keys[index] = world:submit("echo job", nil, index % 2 == 0 and "other" or "q")
    end
    assert.is_true(run())
    for _, key in ipairs(keys) do
      assert.same({ "finished", "succeeded" }, { world:document(key).status, world:document(key).moonrunner.outcome })
    end
    assert.same({}, world.place:files("queue/q"))
    assert.same({}, world.place:files("queue/other"))
  end)

  it("never runs more than it has cores for", function()
    for _ = 1, 4 do
      world:submit('d="$STUDIOML_HOME/.."; touch "$d/busy-$$"; set -- "$d"/busy-*; echo "now $#"; sleep 0.05; '
        .. 'rm "$d/busy-$$"')
    end
    assert.is_true(run())
    for index = 1, 4 do
      assert.is_true(tonumber(world:stored("e" .. index, "output"):match("now (%d+)")) <= 2)
    end
  end)

  it("sets a message aside that is none, and goes on", function()
    world.place:write("queue/q/broken", "no JSON")
    local key = world:submit("exit 0")
    assert.is_true(run())
    assert.equal("finished", world:document(key).status)
    assert.same({ ready = 0, claimed = 0, aside = 1 }, world:messages())
  end)

  it("survives a lifetime that is over, also a negative one", function()
    local key, fine = world:submit("exit 0", { lifetime = "-5s" }), world:submit("exit 0")
    assert.is_true(run())
    assert.same({ "expired", "succeeded" }, { world:document(key).moonrunner.outcome,
      world:document(fine).moonrunner.outcome })
  end)

  it("tries a job whose script fails as often as job.attempts says, then sets it aside", function()
    local calls = 0
    world.context.scripts.handle_job = function()
      calls = calls + 1
      error("always")
    end
    local key = world:submit("exit 0")
    assert.is_true(run())
    assert.equal(3, calls)
    assert.same({ ready = 0, claimed = 0, aside = 1 }, world:messages())
    assert.same({ "script_failed", 3, 3 }, { world:document(key).moonrunner.outcome,
      world:document(key).moonrunner.attempt, world:document(key).moonrunner.failures })
  end)

  it("that is drained lets what runs finish, and hands back what waits as if it had never held it", function()
    for _ = 1, 4 do
      world:submit('touch "$HOME/started"; until [ -e "$HOME/go" ]; do sleep 0.01; done')
    end
    local host_runner = world:runner()
    local running = host.task.start(host_runner.run, host_runner)
    local function jobs_started()
      local _, started = table.concat(world.place:files("working"), " "):gsub("jobs/%d+/started", "")
      return started
    end
    wait_until(function() return jobs_started() == 2 end)
    host_runner:drain()
    for _, job in pairs(host_runner.jobs) do
      if job.folder then
        world.place:write(job.folder:sub(#world.place:at() + 2) .. "/go", "")
      end
    end
    assert.is_true((running:join()))
    check_end()
    assert.same({ ready = 2, claimed = 0, aside = 0 }, world:messages())
    for _, file in ipairs(world.place:files("queue/q")) do
      assert.is_nil(file:find(".", 1, true), "numbers of an attempt in " .. file)
    end
  end)

  it("that is interrupted stops what runs, saves it and hands it back", function()
    local key = world:submit('echo so far; touch "$HOME/started"; sleep 600')
    local host_runner = world:runner()
    local running = host.task.start(host_runner.run, host_runner)
    wait_until(function()
      return table.concat(world.place:files("working"), " "):find("started", 1, true)
    end)
    host_runner:drain()
    host_runner:interrupt()
    assert.is_true((running:join()))
    check_end()
    assert.equal("waiting", world:document(key).status)
    assert.matches("^so far\nmoonrunner: interrupted: ", world:stored(key, "output"))
    assert.same({ ready = 1, claimed = 0, aside = 0 }, world:messages())
  end)

  it("ends when no task can be started any more, with every message back in its queue", function()
    for nth = 1, 12 do
      world:submit("exit 0")
      fault.reset()
      fault.arm("task.start", nth)
      run()
      fault.reset()
      local left = world:messages()
      assert.equal(0, left.claimed)
      if left.ready > 0 then
        assert.is_true(run())
      end
      assert.same({ ready = 0, claimed = 0, aside = 0 }, world:messages())
    end
  end)
end)
