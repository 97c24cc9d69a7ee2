-- The folder queue beyond what every queue must do: names, places, the client's lock, dead hosts, and every fault.
local folder = require "queue.folder"
local folder_name = require "queue.folder_name"
local scope = require "scope"
local worlds = require "queue_worlds"

local LOCK = "queue/q/lock.lock"

describe("a folder queue", function()
  local world, backend

  before_each(function()
    world = worlds.folder()
    backend = world:host({ run = "0000aaaa" })
  end)

  after_each(function()
    fault.reset()
    backend:close()
    world:close()
  end)

  local function serve(name)
    return assert(backend:open(name or "q"))
  end

  local function files(name)
    return world.place:files("queue/" .. name)
  end

  it("keeps a claim under the run, named by the attempt, and leaves nothing of ours in the queue", function()
    local name = world:send("q", "text")
    local queue = serve()
    local delivery = queue:claim()
    assert.same({}, files("q"))
    assert.same({ ".life", name .. ".1.0" }, files(".moonrunner/runs/0000aaaa/claims/q"))
    delivery:hand_back({ attempt = 1, failures = 1 })
    assert.same({ name .. ".1.1" }, files("q"))
    local again = queue:claim()
    assert.same({ 2, 1 }, { again.attempt, again.failures })
    assert.equal("handed_back", again:hand_back({ attempt = 0, failures = 0 }))
    assert.same({ name }, files("q"))
  end)

  it("keeps what is set aside, its reason and all its own folders from other users", function()
    world:send("q", "secret")
    local queue = serve()
    queue:claim():set_aside({ reason = "r", attempt = 0, failures = 0 })
    local aside = "queue/.moonrunner/set-aside/q/"
    for _, file in ipairs(world.place:files(aside)) do
      assert.equal(384, world.place:stat(aside .. file).mode) -- 0600
    end
    assert.equal(448, world.place:stat("queue/.moonrunner").mode) -- 0700
  end)

  it("keeps two messages of one name apart when they are set aside", function()
    local queue
    for _, text in ipairs({ "one", "two" }) do
      world:send("q", text, "same-name")
      queue = queue or serve()
      assert.equal("set_aside", queue:claim():set_aside({ reason = "because " .. text, attempt = 0, failures = 0 }))
    end
    local aside = world:aside("q")
    table.sort(aside, function(a, b) return a.body < b.body end)
    assert.same({
      { body = "one", reason = "because one" },
      { body = "two", reason = "because two" },
    }, aside)
  end)

  it("never writes over a message that has the name it would go back to", function()
    local name = world:send("q", "one")
    local queue = serve()
    local delivery = queue:claim()
    world:send("q", "two", name .. ".1.0")
    assert.equal("again", delivery:again({ attempt = 1, failures = 0 }))
    local bodies = { queue:claim().body, queue:claim().body }
    table.sort(bodies)
    assert.same({ "one", "two" }, bodies)
  end)

  it("takes only regular files whose names begin with neither a dot nor lock.lock for messages", function()
    world:send("q", "text")
    world.place:write("queue/q/.hidden", "half")
    world.place:write("queue/q/lock.lock.break.12.abcdef", "12\nhost\n")
    world.place:make_path("queue/q/folder")
    assert(host.file.root:symlink("/etc/passwd", world.place:at("queue/q/link")))
    local queue = serve()
    assert.equal(1, queue:depth().ready)
    assert.equal("text", queue:claim().body)
    assert.is_false(queue:claim())
  end)

  it("serves any folder but hidden ones, and refuses names that would disturb a log", function()
    for _, name in ipairs({ "_", "=flat", "a b", "ü", ".hidden", "a\nb", "a\27[31m", "\255\254", "\194\155x" }) do
      world.place:make_path("queue/" .. name)
    end
    world.place:write("queue/flat-message", "text")
    assert.same({ "=flat", "_", "a b", "ü" }, backend:names())
    for _, name in ipairs({ "a\nb", "\255\254", ".hidden", "..", "a/b", "" }) do
      local queue, err = backend:open(name)
      assert.is_nil(queue)
      assert.equal("queue.name", err.code)
      assert.is_nil(err.message:find("[%c\128-\255]"))
    end
  end)

  it("does not serve through a link", function()
    world.place:make_path("elsewhere")
    assert(host.file.root:symlink(world.place:at("elsewhere"), world.place:at("queue/link")))
    assert.same({}, backend:names())
    local queue, err = backend:open("link")
    assert.is_nil(queue)
    assert.equal("queue.gone", err.code)
  end)

  it("delivers a message whose name leaves no room for numbers", function()
    local name = ("n"):rep(255)
    world:send("q", "text", name)
    local queue = serve()
    local delivery = queue:claim()
    assert.equal("text", delivery.body)
    assert.equal("handed_back", delivery:hand_back({ attempt = 1, failures = 0 }))
    assert.equal(2, queue:claim().attempt)
  end)

  it("delivers a message that it can not read with the reason, and goes on with the next", function()
    world:send("q", "first")
    world:send("q", "second")
    local queue = serve()
    fault.arm("file.read", 1)
    local delivery = queue:claim()
    assert.is_nil(delivery.body)
    assert.equal("file.io", delivery.problem.code)
    assert.equal("second", queue:claim().body)
    assert.equal("set_aside", delivery:set_aside({ reason = tostring(delivery.problem), attempt = 0, failures = 0 }))
    assert.equal("first", world:aside("q")[1].body)
  end)

  it("goes on to the next message when one can not be moved", function()
    world:send("q", "first")
    world:send("q", "second")
    local queue = serve()
    fault.arm("file.rename", 1)
    assert.equal("second", queue:claim().body)
    assert.equal("first", queue:claim().body)
  end)

  it("says so when no message can be moved, and leaves the queue alone for a while", function()
    local name = world:send("q", "first")
    local queue = serve()
    fault.arm("file.rename", 1)
    local delivery, err = queue:claim()
    assert.is_nil(delivery)
    assert.equal("file.io", err.code)
    assert.is_truthy(err.message:find(name, 1, true))
    assert.is_false(queue:claim())
    assert.same({ name }, files("q"))
  end)

  it("does not touch an empty queue", function()
    world.place:make_path("queue/q")
    local queue = serve()
    while backend:wait(0) do -- what came before
      assert(true)
    end
    assert.is_false(queue:claim())
    assert.is_false(backend:wait(0))
  end)

  it("sees a message that came after the others were taken", function()
    local queue
    for i = 1, 3 do
      world:send("q", tostring(i))
      queue = queue or serve()
      assert.equal(tostring(i), queue:claim().body)
    end
  end)

  it("waits for the client's lock without holding up others, until its deadline", function()
    world:send("q", "text")
    local queue = serve()
    local own = host.system.identity()
    world.place:write(LOCK, ("%d\n%s\n"):format(own.pid, own.hostname
      .. (own.initial_pid_namespace and "" or ("?pidns-%x"):format(tonumber(own.pid_namespace)))))
    local delivery, err = host.task.deadline(120, function()
      return queue:claim()
    end)
    assert.is_nil(delivery)
    assert.equal("task.deadline", err.code)
    local results = assert(scope.all({
      function() return queue:claim() end,
      function() return host.file.root:unlink(world.place:at(LOCK)) end,
    }))
    assert.equal("text", results[1].body)
    assert.is_nil(world.place:stat(LOCK))
  end)

  it("refuses a second run of one name", function()
    local second, err = folder.open({ root = world.place:at("queue"), run = "0000aaaa", max_message_size = 100 })
    assert.is_nil(second)
    assert.equal("file.exists", err.code)
    assert.same({ "runs/0000aaaa/lock", "runs/0000aaaa/lock-record" }, files(".moonrunner"))
  end)

  it("leaves nothing when it is closed", function()
    world:send("q", "text")
    local queue = serve()
    queue:claim():acknowledge()
    queue:close()
    backend:close()
    assert.same({}, world.place:files("queue"))
    backend = world:host()
  end)

  it("leaves unanswered messages to the next host when it is closed", function()
    local name = world:send("q", "text")
    serve():claim()
    backend:close()
    backend = world:host()
    assert.same({ name .. ".1.1" }, files("q"))
  end)

  describe("after a host has died", function()
    local function die_holding(...)
      local names = {}
      local dead = world:host({ run = "dead0000" })
      for i, text in ipairs({ ... }) do
        names[i] = world:send("q", text)
      end
      local queue = assert(dead:open("q"))
      for _ in ipairs(names) do
        assert(queue:claim())
      end
      world:kill(dead)
      return names
    end

    it("returns its claims to their old places, one failure more each, and removes its folder", function()
      local names = die_holding("first", "second")
      world:send("q", "third")
      assert(backend:return_dead())
      local queue = serve()
      local first = queue:claim()
      assert.same({ "first", 2, 1, true }, { first.body, first.attempt, first.failures, first.redelivered })
      assert.equal(names[1], first.key_hint)
      assert.equal("second", queue:claim().body)
      assert.equal("third", queue:claim().body)
      assert.is_nil(world.place:stat("queue/.moonrunner/runs/dead0000"))
    end)

    it("leaves the claims of the living alone", function()
      local alive = world:host()
      world:send("q", "text")
      local theirs = assert(alive:open("q")):claim()
      assert(backend:return_dead())
      assert.is_false(serve():claim())
      assert.equal("acknowledged", theirs:acknowledge())
      alive:close()
    end)

    it("keeps messages of a queue that was removed since where an operator sees them", function()
      die_holding("text")
      world:delete("q")
      assert(backend:return_dead())
      assert.equal("text", world:aside("q")[1].body)
      assert.is_nil(world.place:stat("queue/q"))
    end)

    it("returns nothing into a folder of another life", function()
      die_holding("text")
      assert(host.file.root:rename(world.place:at("queue/q"), host.file.root, world.place:at("old")))
      world:send("q", "of another life")
      assert(backend:return_dead())
      assert.equal("text", world:aside("q")[1].body)
      local queue = serve()
      assert.equal("of another life", queue:claim().body)
      assert.is_false(queue:claim())
    end)

    it("does not return what its host held of a queue that was removed while it lived", function()
      local dead = world:host()
      world:send("q", "of the first life")
      local old = assert(dead:open("q"))
      assert(old:claim())
      assert(host.file.root:rename(world.place:at("queue/q"), host.file.root, world.place:at("old")))
      world:send("q", "of the second life")
      local new = assert(dead:open("q"))
      assert(new:claim())
      world:kill(dead)
      assert(backend:return_dead())
      local queue = serve()
      assert.equal("of the second life", queue:claim().body)
      assert.is_false(queue:claim())
      assert.same({}, world:aside("q"))
    end)

    it("loses no claim when returning fails at any call", function()
      local tried = 0
      for _, point in ipairs({ "file.rename", "file.open", "file.stat", "file.readdir", "file.link", "file.unlink",
        "file.flock", "file.utime", "file.read" }) do
        for nth = 1, 12 do
          local names = die_holding("text")
          fault.arm(point, nth)
          local ok = backend:return_dead()
          fault.reset()
          tried = tried + (ok and 0 or 1)
          assert(backend:return_dead())
          assert.same({ names[1] .. ".1.1" }, files("q"))
          assert.same({}, world:aside("q"))
          world:delete("q")
        end
      end
      assert.is_true(tried > 20)
    end)
  end)

  describe("under faults", function()
    local POINTS = { "file.rename", "file.open", "file.stat", "file.read", "file.readdir", "file.link", "file.unlink",
      "file.utime", "file.chmod", "file.mkdir", "file.write", "file.close", "file.memory" }

    -- Every place that a message can be in, as {place = …, body = …}.
    local function places()
      local found = {}
      for _, file in ipairs(files("q")) do
        if file ~= "lock.lock" then
          found[#found + 1] = { place = "queue", body = world.place:read("queue/q/" .. file) }
        end
      end
      for _, file in ipairs(files(".moonrunner/runs/0000aaaa/claims/q")) do
        if file ~= ".life" then
          found[#found + 1] = {
            place = "claims",
            body = world.place:read("queue/.moonrunner/runs/0000aaaa/claims/q/" .. file),
          }
        end
      end
      for _, message in ipairs(world:aside("q")) do
        found[#found + 1] = { place = "aside", body = message.body }
      end
      return found
    end

    local function each_fault(perform)
      local failed = 0
      for _, point in ipairs(POINTS) do
        for nth = 1, 12 do
          world:send("q", "text")
          local queue = serve()
          failed = failed + (perform(queue, point, nth) and 0 or 1)
          fault.reset()
          queue:close()
          world:delete("q")
          host.file.root:remove_tree(world.place:at("queue/.moonrunner/set-aside"))
        end
      end
      return failed
    end

    it("a claim that fails leaves the message in its queue, and the next one gets it", function()
      local failed = each_fault(function(queue, point, nth)
        fault.arm(point, nth)
        local delivery = queue:claim()
        fault.reset()
        assert.same({ { place = delivery and "claims" or "queue", body = "text" } }, places())
        queue.quiet_until = 0
        local claimed = delivery or queue:claim()
        assert.equal(1, claimed.attempt)
        assert.equal("acknowledged", claimed:acknowledge())
        return delivery
      end)
      assert.is_true(failed >= 6)
    end)

    local ANSWERS = {
      acknowledge = {},
      again = { place = "queue", numbers = { attempt = 1, failures = 1 } },
      hand_back = { place = "queue", numbers = { attempt = 1, failures = 0 } },
      set_aside = { place = "aside", numbers = { attempt = 1, failures = 0, reason = "why" } },
    }
    for _, answer in ipairs({ "acknowledge", "again", "hand_back", "set_aside" }) do
      it("an answer that fails (" .. answer .. ") leaves the message held, and may be given again", function()
        local wanted = ANSWERS[answer]
        local after = wanted.place and { { place = wanted.place, body = "text" } } or {}
        local failed = each_fault(function(queue, point, nth)
          local delivery = queue:claim()
          fault.arm(point, nth)
          local how, err = delivery[answer](delivery, wanted.numbers)
          fault.reset()
          if not how then
            assert.is_string(err.code)
            assert.same({ { place = "claims", body = "text" } }, places())
            assert.is_string(delivery[answer](delivery, wanted.numbers))
          end
          assert.same(after, places())
          return how
        end)
        assert.is_true(failed >= (answer == "acknowledge" and 1 or 3))
      end)
    end

    it("opening a queue that fails leaves no descriptor and can be tried again", function()
      world.place:make_path("queue/q")
      for _, point in ipairs(POINTS) do
        for nth = 1, 8 do
          fault.arm(point, nth)
          local queue = backend:open("q")
          fault.reset();
          (queue or serve()):close()
        end
      end
    end)

    it("opening the folder that fails leaves no run behind and can be tried again", function()
      local before = files(".moonrunner")
      for _, point in ipairs({ "file.rename", "file.open", "file.stat", "file.mkdir", "file.flock", "file.write",
        "file.chmod", "file.memory" }) do
        for nth = 1, 12 do
          fault.arm(point, nth)
          local second = folder.open({ root = world.place:at("queue"), run = "0000bbbb", max_message_size = 100 })
          fault.reset()
          if second then
            second:close()
          end
          assert.same(before, files(".moonrunner"))
        end
      end
    end)

    it("a lock that could not be removed is taken over, not waited for", function()
      world:send("q", "1")
      world:send("q", "2")
      local queue = serve()
      fault.arm("file.unlink", 1)
      assert.equal("1", queue:claim().body)
      assert.is_nil(world.place:stat(LOCK))
      world.place:write(LOCK, "")
      assert(host.file.root:unlink(world.place:at(LOCK)))
      assert(host.file.root:link(world.place:at("queue/.moonrunner/runs/0000aaaa/lock-record"), host.file.root,
        world.place:at(LOCK)))
      assert.equal("2", queue:claim().body)
      assert.is_nil(world.place:stat(LOCK))
    end)
  end)
end)

describe("a message's name", function()
  it("carries numbers, and what only looks like them is left alone", function()
    local function parsed(name)
      local message = folder_name.parse(name)
      return { message.base, message.attempt, message.failures, message.numbered }
    end
    assert.same({ "u", 3, 2, true }, parsed("u.3.2"))
    assert.same({ "u", 0, 0, true }, parsed("u.0.0"))
    assert.same({ "u", 0, 0, false }, parsed("u"))
    assert.same({ "v1.2.3", 0, 0, false }, parsed("v1.2.3"))
    assert.same({ "u.01.0", 0, 0, false }, parsed("u.01.0"))
    assert.same({ "u.1234567890.0", 0, 0, false }, parsed("u.1234567890.0"))
    assert.same({ "x.y", 2, 0, true }, parsed("x.y.2.0"))
    assert.equal("u", folder_name.in_queue("u", 0, 0))
    assert.equal("u.1.0", folder_name.in_queue("u", 1, 0))
    assert.equal("u.2.2", folder_name.in_queue("u", 2, 5))
  end)

  it("survives the round trip of format and parse", function()
    for attempt = 0, 5 do
      for failures = 0, attempt do
        local message = folder_name.parse(folder_name.format("some-base", attempt, failures))
        assert.same({ "some-base", attempt, failures }, { message.base, message.attempt, message.failures })
      end
    end
  end)
end)
