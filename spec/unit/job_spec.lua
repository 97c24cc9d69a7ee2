-- One whole job, from its message in a real folder queue to its answer and its results in a real folder store.
local job_task = require "job_task"
local outcome = require "outcome"
local worlds = require "job_world"

local NOWHERE = { ready = 0, claimed = 0, aside = 0 }

local function contains(text, part)
  assert.is_truthy((text or ""):find(part, 1, true), ("%q is not in %q"):format(part, text or "nil"))
end

describe("a job", function()
  local world

  before_each(function()
    world = worlds.open()
  end)

  after_each(function()
    fault.reset()
    world:close()
  end)

  -- Runs the next job with this script in place of the shipped one.
  local function run_with(script)
    world.context.scripts.handle_job = script
    local how, job = world:run_next()
    return job, how
  end

  it("runs its program with its arguments, and leaves results, verdict, document and nothing else", function()
    local key = world:submit('echo "<$1> <$2>"; echo weights > ../modeldir/m; echo 7 > ../retval; exit 0',
      { arguments = { "a b", "$(id)" } })
    local how, job = world:run_next()
    assert.equal("acknowledged", how)
    assert.equal("succeeded", job.outcome.code)
    assert.matches("^<a b> <$%(id%)>\nmoonrunner: succeeded: the program exited with status 0 "
      .. "%(attempt 1 of 3, %d+%.%d s, peak [%d.]+ %a+%)\n$", world:stored(key, "output"))
    assert.equal("7\n", world:stored(key, "retval"))
    contains(world:stored(key, "modeldir") or world.place:read("unpacked/m"), "weights")
    local document = world:document(key)
    assert.equal("finished", document.status)
    assert.equal("ended", document.moonrunner.state)
    assert.equal("succeeded", document.moonrunner.outcome)
    assert.is_true(document.time_finished >= document.time_started)
    assert.same(NOWHERE, world:messages())
    assert.same({}, world:leftovers())
  end)

  it("whose program fails is over: its results are saved all the same", function()
    local key = world:submit("echo partial > ../modeldir/m; exit 3")
    local how, job = world:run_next()
    assert.equal("acknowledged", how)
    assert.same({ "failed", 3 }, { job.outcome.code, job.outcome.exit })
    contains(world:stored(key, "output"), "moonrunner: failed: the program exited with status 3 (attempt 1 of 3, ")
    contains(world:stored(key, "modeldir") or world.place:read("unpacked/m"), "partial")
    assert.equal(3, world:document(key).moonrunner.exit)
  end)

  it("whose program kills itself says by which signal", function()
    world:submit("kill -SEGV $$")
    local _, job = world:run_next()
    assert.same({ "signalled", 11 }, { job.outcome.code, job.outcome.signal })
  end)

  it("that takes longer than it may is stopped, with what it printed kept", function()
    local key = world:submit("echo started; sleep 600", { max_duration = "1s" })
    local how, job = world:run_next()
    assert.equal("acknowledged", how)
    assert.equal("over_time", job.outcome.code)
    contains(world:stored(key, "output"),
      "started\nmoonrunner: over_time: it ran longer than its max_duration of 1 s (")
  end)

  it("holds nothing by which a script could answer its message", function()
    world:submit("exit 0")
    local job = world:take()
    for name, value in pairs(job) do
      assert.is_nil(type(value) == "table" and value.acknowledge or nil, name)
    end
    job_task.run(job)
    assert.equal("acknowledged", world:answer(job))
  end)

  it("whose lifetime was over before it started is expired", function()
    world:submit("exit 0", { lifetime = "-1s" })
    local job = world:take()
    assert.equal("expired", job_task.expired(job).code)
    assert.equal("acknowledged", world:answer(job))
    assert.same({}, world:leftovers())
  end)

  it("appends to the output of the attempt before, and says which attempt it is", function()
    local key = world:submit("echo again")
    local job = world:take()
    job_task.run(job)
    job.outcome = outcome.new("store_failed", "as if")
    world:answer(job)
    assert.equal("waiting", world:document(key).status)
    local how, second = world:run_next()
    assert.same({ "acknowledged", 2, 1 }, { how, second.attempt, second.failures })
    local output = world:stored(key, "output")
    assert.matches("^again\nmoonrunner: succeeded: [^\n]+attempt 1 of 3[^\n]+\nmoonrunner: attempt 2 of 3\nagain\n"
      .. "moonrunner: succeeded: [^\n]+attempt 2 of 3[^\n]+\n$", output)
  end)

  it("keeps the return value of an attempt that did not run its program from replacing an earlier one", function()
    local key = world:submit("echo 1 > ../retval")
    world:run_next()
    assert.equal("1\n", world:stored(key, "retval"))
    local archive = ("store/storage/experiments/%s/retval.tar"):format(key)
    local before = world.place:stat(archive).inode
    assert(host.file.root:unlink(world.place:at("store/studioml-meta/experiments/" .. key)))
    world:submit("echo 2 > ../retval", { key = key, requirements = { "broken" } })
    local _, job = world:run_next()
    assert.equal("environment_failed", job.outcome.code)
    assert.equal(before, world.place:stat(archive).inode)
  end)

  it("without one of its immutable artifacts is set aside, and the sentence names it", function()
    world.place:write("data", "x")
    local key = world:submit("exit 0", { captures = { world.place:at("data") .. ":data" } })
    for _, file in ipairs(world.place:files("store/storage/blobstore")) do
      assert(host.file.root:unlink(world.place:at("store/storage/blobstore/" .. file)))
    end
    local how, job = world:run_next()
    assert.equal("set_aside", how)
    assert.equal("fetch_failed", job.outcome.code)
    assert.is_false(job.outcome.retryable)
    assert.matches("^artifact %w+: ", job.outcome.sentence)
    assert.equal("finished", world:document(key).status)
    assert.same({ ready = 0, claimed = 0, aside = 1 }, world:messages())
  end)

  it("finds a captured file beside its workspace", function()
    world.place:write("data.txt", "captured")
    local key = world:submit('cat "../data"', { captures = { world.place:at("data.txt") .. ":data" } })
    world:run_next()
    contains(world:stored(key, "output"), "captured")
  end)

  it("that was stopped before it started does not start", function()
    local key = world:submit("echo ran")
    local path = "store/studioml-meta/experiments/" .. key
    world.place:write(path, (world.place:read(path):gsub('"status":"waiting"', '"status":"stopped"')))
    local how, job = world:run_next()
    assert.same({ "acknowledged", "stopped" }, { how, job.outcome.code })
    assert.is_nil((world:stored(key, "output") or ""):find("ran\n"))
    assert.equal("finished", world:document(key).status)
  end)

  it("that the user stops while it runs is stopped, and its results are saved", function()
    local key = world:submit("echo started > ../modeldir/m; sleep 600")
    local path = "store/studioml-meta/experiments/" .. key
    local job = world:take()
    local running = host.task.start(job_task.run, job)
    repeat
      host.time.sleep(1)
    until job.process
    world.place:write(path, (world.place:read(path):gsub('"running"', '"stopped"', 1)))
    running:join()
    assert.equal("stopped", job.outcome.code)
    assert.equal("acknowledged", world:answer(job))
    contains(world:stored(key, "output"), "moonrunner: stopped: the user stopped it (")
  end)

  it("runs without a document: it may run twice, but it runs", function()
    local key = world:submit("echo ran")
    assert(host.file.root:unlink(world.place:at("store/studioml-meta/experiments/" .. key)))
    local how, job = world:run_next()
    assert.same({ "acknowledged", "succeeded" }, { how, job.outcome.code })
    contains(world:stored(key, "output"), "ran\n")
    assert.is_nil(world.place:stat("store/studioml-meta/experiments/" .. key))
  end)

  it("that is interrupted goes back to its old place with its results so far", function()
    local key = world:submit("echo so far; sleep 600")
    local job = world:take()
    local running = host.task.start(job_task.run, job)
    repeat
      host.time.sleep(1)
    until job.process
    job_task.interrupt(job)
    running:join()
    assert.equal("interrupted", job.outcome.code)
    assert.equal("handed_back", world:answer(job))
    assert.equal("waiting", world:document(key).status)
    assert.is_string(world:stored(key, "output"))
    assert.same({ ready = 1, claimed = 0, aside = 0 }, world:messages())
    assert.equal(1, world:take().attempt)
  end)

  it("does not see the host's environment, and finds its files by both of the client's ways", function()
    set_environment("MOONRUNNER_SECRET", "hunter2")
    finally(function() set_environment("MOONRUNNER_SECRET", nil) end)
    local key = world:submit('echo "[$MOONRUNNER_SECRET]"; cat "$STUDIOML_ARTIFACT_MAPPING"; echo; '
      .. 'ls -d ../modeldir ../workspace; [ "$HOME" = "$TMPDIR" ] && [ "$HOME" = "$STUDIOML_HOME" ] && echo one home')
    local _, job = world:run_next()
    local output = world:stored(key, "output")
    assert.equal("succeeded", job.outcome.code, output)
    contains(output, "[]\n")
    contains(output, ("experiments\\/%s\\/modeldir"):format(key))
    contains(output, "../modeldir\n../workspace\none home\n")
  end)

  describe("whose script is wrong", function()
    it("fails with file and line when it raises", function()
      world:submit("exit 0")
      local folder = world.place:make_path("scripts")
      world.place:write("scripts/handle_job.lua", "return function(job)\n  return job.nothing.here\nend\n")
      local job, how = run_with(assert(host.bundle.open(folder)).handle_job)
      assert.same({ "again", "script_failed" }, { how, job.outcome.code })
      contains(job.outcome.sentence, "handle_job.lua:2:")
    end)

    it("fails when it never waits, and the host lives", function()
      local ended = engine_run({ slice = 50, source = [[
        local job_task = require("job_task")
        local job = { placement = { cores = 1, mem = 1 }, context = { scripts = { handle_job = function()
          while true do end
        end } } }
        job_task.run(job)
        return job.outcome.code, job.outcome.sentence
      ]], sandbox = true })
      assert.is_nil(ended.message)
      assert.equal("script_failed", ended.results[1])
      contains(ended.results[2], "chunk:3:")
    end)

    for _, returned in ipairs({
      "nil", "'done'", "{}", "{ code = 'finished', sentence = 's' }", "{ code = 'failed' }",
    }) do
      it("fails when it returns " .. returned, function()
        local key = world:submit("exit 0")
        local job = run_with(assert(loadstring("return function() return " .. returned .. " end"))())
        assert.equal("script_failed", job.outcome.code)
        contains(job.outcome.sentence, "scripts/handle_job.lua returned")
        assert.equal("waiting", world:document(key).status)
        assert.same({}, world:leftovers())
      end)
    end

    it("loses no results: what it did not save is saved before the answer", function()
      local key = world:submit("echo precious")
      run_with(function(job)
        job:make_workspace()
        job:fetch_artifacts()
        job:prepare_environment()
        job:run()
        error("forgot to save")
      end)
      local output = world:stored(key, "output")
      contains(output, "precious\nmoonrunner: script_failed: ")
      contains(output, "forgot to save")
    end)

    it("leaves no program running when it returns early", function()
      world:submit("sleep 600")
      local job = run_with(function(job)
        job:make_workspace()
        job:fetch_artifacts()
        job:prepare_environment()
        host.task.start(job.run, job)
        repeat
          host.time.sleep(1)
        until job.process
        return outcome.new("failed", "enough")
      end)
      assert.equal("failed", job.outcome.code)
      assert.is_table((job.process:wait()))
      assert.same({}, world:leftovers())
    end)
  end)
end)
