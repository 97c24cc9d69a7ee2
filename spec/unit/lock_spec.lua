-- The client's lock: whose it is, when it may be broken, and what we write ourselves.
local lock = require "queue.lock"
local scope = require "scope"
local spec_folder = require "spec_folder"

local GONE = 2 ^ 22 + 1 -- above the kernel's largest process id

describe("the client's lock", function()
  local place, dir, records, own

  local function make(stale_ms)
    return assert(lock.new({ dir = dir, records = records, queue = "q", stale_ms = stale_ms }))
  end

  local function stand(text)
    place:write("q/lock.lock", text)
  end

  -- Is it taken before `ms` are over?
  local function taken(one, ms)
    local held, err = host.task.deadline(ms, function()
      return one:take()
    end)
    if held then
      one:release()
      return true
    end
    assert.equal("task.deadline", err.code)
    return false
  end

  before_each(function()
    place = spec_folder.make()
    place:make_path("q")
    place:make_path("run")
    dir = assert(host.file.root:open(place:at("q")))
    records = assert(host.file.root:open(place:at("run")))
    assert(lock.write_record(records))
    own = assert(lock.parse(place:read("run/lock-record")))
  end)

  after_each(function()
    fault.reset()
    dir:close()
    records:close()
    place:remove()
  end)

  it("is a file that names us, readable for all, while we hold it, and nothing else stays", function()
    local one = make()
    assert(one:take())
    local identity = host.system.identity()
    assert.equal(identity.pid, own.pid)
    assert.equal(identity.start_time, own.token)
    assert.equal(place:read("run/lock-record"), place:read("q/lock.lock"))
    assert.equal(420, place:stat("q/lock.lock").mode) -- 0644
    one:release()
    assert.same({}, place:files("q"))
    assert.same({ "lock-record" }, place:files("run"))
  end)

  it("reads what filelock writes and nothing else", function()
    assert.same({ pid = 12, host = "h" }, lock.parse("12\nh\n"))
    assert.same({ pid = 12, host = "h?pidns-f1", token = "99" }, lock.parse("12\nh?pidns-f1\n99\n"))
    for _, text in ipairs({ "", "12", "12\nh", "12\n\n", "0\nh\n", "-1\nh\n", "x\nh\n", "4294967296\nh\n", "12\nh\nx\n",
      "12\nh\n1\n2\n", "filelock/break\n12\n", "12\nh\n1", "12\nh h\n", "\n12\nh\n" }) do
      assert.is_nil(lock.parse(text), ("%q"):format(text))
    end
  end)

  it("splits a token into start time and boot, of any size", function()
    assert.same({ "0" }, { lock.split_token("0") })
    assert.same({ "ffff" }, { lock.split_token("65535") })
    assert.same({ "ffffffffffffffff" }, { lock.split_token("18446744073709551615") })
    assert.same({ "0", "1" }, { lock.split_token("18446744073709551616") })
    -- 0x38f3c00634c340078c35922dec965be5 << 64 | 0x18d72
    assert.same({ "18d72", "38f3c00634c340078c35922dec965be5" },
      { lock.split_token("1396462625441446759802248792429286840678188090565968629106") })
  end)

  it("of a process that died is broken at once", function()
    stand(("%d\n%s\n123\n"):format(GONE, own.host))
    assert.is_true(taken(make(), 10000))
    assert.same({ "lock-record" }, place:files("run"))
  end)

  it("of a process whose id another has got is broken at once", function()
    stand(("%d\n%s\n%d\n"):format(own.pid, own.host, tonumber(own.token) + 1))
    assert.is_true(taken(make(), 10000))
  end)

  it("of a process of an earlier boot is broken at once, of this boot it is not", function()
    -- filelock's token: the boot's id, here 1, above the 64 bits of our own start time.
    local token = "18446744" .. ("%012.0f"):format(73709551616 + tonumber(own.token))
    stand(("%d\n%s\n%s\n"):format(own.pid, own.host, token))
    local same_boot = make(1)
    same_boot.identity.boot_id = ("0"):rep(31) .. "1"
    assert.is_false(taken(same_boot, 120))
    assert.is_true(taken(make(), 10000))
  end)

  it("of a living process is waited for, however long it stands", function()
    for _, text in ipairs({ ("%d\n%s\n%s\n"):format(own.pid, own.host, own.token),
      ("%d\n%s\n"):format(own.pid, own.host) }) do
      stand(text)
      assert.is_false(taken(make(1), 200))
      assert.equal(text, place:read("q/lock.lock"))
    end
  end)

  it("that tells nothing is broken only after it stood unchanged", function()
    for _, text in ipairs({ "", "nonsense", ("%d\nanother-host\n5\n"):format(GONE) }) do
      stand(text)
      assert.is_false(taken(make(60000), 120))
      assert.is_true(taken(make(60), 10000))
    end
  end)

  it("that tells nothing and changes is not broken", function()
    stand("")
    local one = make(150)
    local results = scope.all({
      function() return taken(one, 400) end,
      function()
        for i = 1, 8 do
          host.time.sleep(50)
          stand(("x"):rep(i))
        end
        return true
      end,
    })
    assert.is_false(results[1])
  end)

  it("counts how long a lock stood over several tries", function()
    stand("")
    local one = make(300)
    local tries = 0
    repeat
      tries = tries + 1
    until taken(one, 100)
    assert.is_true(tries > 1)
  end)

  it("that is a link is not followed, and broken like one that tells nothing", function()
    place:write("elsewhere", ("%d\n%s\n"):format(GONE, own.host))
    assert(host.file.root:symlink(place:at("elsewhere"), place:at("q/lock.lock")))
    assert.is_false(taken(make(60000), 120))
    assert.is_true(taken(make(60), 10000))
    assert.is_not_nil(place:read("elsewhere"))
  end)

  it("that another took from us stays when we let go", function()
    local one = make()
    assert(one:take())
    assert(dir:unlink("lock.lock"))
    stand("other")
    one:release()
    assert.equal("other", place:read("q/lock.lock"))
  end)

  it("is removed although the first try fails", function()
    local one = make()
    assert(one:take())
    fault.arm("file.unlink", 1)
    one:release()
    assert.is_nil(place:stat("q/lock.lock"))
  end)

  it("that we could not remove is ours at the next take", function()
    assert(records:link("lock-record", dir, "lock.lock"))
    assert.is_true(taken(make(), 10000))
    assert.is_nil(place:stat("q/lock.lock"))
  end)

  it("puts a lock back that is not the one it judged", function()
    stand(("%d\n%s\n"):format(GONE, own.host))
    local fresh = ("%d\n%s\n%s\n"):format(own.pid, own.host, own.token)
    local methods = debug.getmetatable(dir).__index
    local rename = methods.rename
    methods.rename = function(...) -- just before it moves the lock, another breaks it and takes it
      methods.rename = rename
      assert(dir:unlink("lock.lock"))
      place:write("q/other", "so that the number of the file is another")
      stand(fresh)
      return rename(...)
    end
    assert.is_false(taken(make(), 200))
    assert.equal(rename, methods.rename)
    assert.equal(fresh, place:read("q/lock.lock"))
    assert.same({ "lock-record" }, place:files("run"))
  end)

  it("can not be taken in a folder that was removed", function()
    local one = make()
    assert(host.file.root:remove_tree(place:at("q")))
    local held, err = one:take()
    assert.is_nil(held)
    assert.is_truthy(err.code == "file.gone" or err.code == "file.not_found")
  end)

  it("is not taken by a task that was cancelled", function()
    local one = make()
    local held, err = host.task.deadline(0, function()
      host.time.sleep(1)
      return one:take()
    end)
    assert.is_nil(held)
    assert.equal("task.deadline", err.code)
    assert.is_nil(place:stat("q/lock.lock"))
  end)

  it("reports every failing call, and holds nothing then", function()
    local failed = 0
    for _, point in ipairs({ "file.utime", "file.link", "file.stat", "file.rename", "file.open", "file.read" }) do
      for nth = 1, 4 do
        stand(("%d\n%s\n"):format(GONE, own.host))
        local one = make()
        fault.arm(point, nth)
        local held, err = host.task.deadline(300, function()
          return one:take()
        end)
        fault.reset()
        if held then
          one:release()
        else
          failed = failed + 1
          assert.is_string(err.code)
        end
        host.file.root:unlink(place:at("q/lock.lock"))
        assert.same({ "lock-record" }, place:files("run"))
      end
    end
    assert.is_true(failed >= 4)
  end)
end)
