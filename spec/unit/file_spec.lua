-- host.file: directory handles, the waiting calls, watches, as Lua sees them. What the calls do is proven in
-- spec/c/test_file_*.c; here it is the door: arguments, results, errors, waiting, cancelling, collecting.

local root = host.file.root

describe("host.file", function()
  local folder, dir

  before_each(function()
    folder = "/tmp/moonrunner-file-spec-" .. host.random.hex(12)
    assert(root:mkdir(folder, "0700"))
    dir = assert(root:open(folder))
  end)

  after_each(function()
    fault.reset()
    dir:close()
    assert(root:remove_tree(folder))
  end)

  local function text_of(name)
    return assert(dir:read(name, 1024))
  end

  local function names()
    local found = {}
    for i, entry in ipairs(assert(dir:list())) do
      found[i] = entry.name
    end
    return found
  end

  -- A failure is nil and an error of that code, whose message names the path.
  local function assert_fails(code, about, ok, err, ...)
    assert.is_nil(ok)
    assert.equal(code, err.code)
    assert.is_truthy(err.message:find(about, 1, true), err.message)
    assert.equal(0, select("#", ...))
  end

  describe("a directory handle", function()
    it("knows its path", function()
      assert.equal(folder, dir:path())
      assert(dir:mkdir("sub", "0700"))
      assert.equal(folder .. "/sub", assert(dir:open("sub")):path())
    end)

    it("that is closed raises, and may be closed again", function()
      local other = assert(dir:open("."))
      other:close()
      other:close()
      assert.has_error(function()
        other:list()
      end, "calling 'list' on bad self (this directory handle is closed)")
      assert.has_error(function()
        dir:rename("x", other, "y")
      end)
    end)

    it("that is the root stays open", function()
      assert.has_error(function()
        root:close()
      end)
    end)

    it("is closed by the collector", function()
      local function descriptors()
        collectgarbage()
        collectgarbage()
        return #assert(assert(root:open("/proc/self/fd")):list())
      end
      local before = descriptors()
      for _ = 1, 50 do
        assert(dir:open("."))
        assert(dir:lock("lock")):release()
        assert(dir:watch())
      end
      assert.equal(before, descriptors())
    end)

    it("does not take something else for a handle", function()
      for _, wrong in ipairs({ false, 1, "x", {}, io.stdout }) do
        assert.has_error(function()
          dir.list(wrong)
        end)
      end
      assert.is_false(getmetatable(dir))
    end)
  end)

  describe("a name", function()
    it("may hold any byte but / and NUL", function()
      local odd = { "new\nline", "\1", "caf\195\169", "\255", "-rf", "*", "a b", "..." }
      for _, name in ipairs(odd) do
        assert(dir:create(name, name, "0600"))
      end
      for _, name in ipairs(odd) do
        assert.equal(name, text_of(name))
      end
      table.sort(odd)
      assert.same(odd, names())
    end)

    it("with a NUL byte is an error, not another name", function()
      assert(dir:create("x", "", "0600"))
      assert_fails("file.bad_name", "NUL", dir:unlink("x\0y"))
      assert_fails("file.bad_name", "NUL", dir:rename("x", dir, "z\0"))
      assert_fails("file.bad_name", "NUL", dir:remove_tree("x\0"))
      assert.same({ "x" }, names())
    end)

    it("with slashes at its end is the same name, and still follows no link", function()
      assert(dir:mkdir("real", "0700"))
      assert(dir:create("real/kept", "", "0600"))
      assert(dir:symlink("real", "link"))
      assert.equal(folder .. "/real", assert(dir:open("real//")):path())
      assert.equal("link", assert(dir:stat("link/")).kind)
      assert_fails("file.not_directory", "/link", dir:open("link/"))
      assert.is_true(dir:remove_tree("link/"))
      assert.same({ "real" }, names())
      assert.equal("", text_of("real/kept"))
    end)

    it("that leads out of the directory is refused", function()
      assert_fails("file.bad_name", "..", dir:read("../x", 10))
      assert_fails("file.bad_name", "/etc/passwd", dir:read("/etc/passwd", 10))
      assert_fails("file.bad_name", "..", dir:copy("../x", dir, "y"))
    end)

    it("that is no string raises", function()
      for _, method in ipairs({ "open", "unlink", "rmdir", "readlink", "lock", "remove_tree", "tree_size" }) do
        assert.has_error(function()
          dir[method](dir, {})
        end)
        assert.has_error(function()
          dir[method](dir)
        end)
      end
    end)
  end)

  describe("stat", function()
    it("tells all fields", function()
      assert(dir:create("x", "four", "0640"))
      assert(dir:touch("x", 1763000000123))
      local stat = assert(dir:stat("x"))
      local own = assert(dir:stat())
      assert.matches("^%d+$", stat.inode)
      assert.equal(own.device, stat.device)
      assert.is_number(stat.uid)
      stat.inode, stat.device, stat.uid = nil, nil, nil
      assert.same({ kind = "file", size = 4, mtime = 1763000000123, links = 1, mode = tonumber("640", 8) }, stat)
      assert.equal("directory", own.kind)
    end)

    it("of a removed directory shows no links", function()
      assert(dir:mkdir("gone", "0700"))
      local gone = assert(dir:open("gone"))
      assert(dir:rmdir("gone"))
      assert.equal(0, assert(gone:stat()).links)
      assert_fails("file.gone", "/gone", gone:create("x", "", "0600"))
    end)
  end)

  it("lists names with their stat", function()
    assert(dir:create("b", "22", "0600"))
    assert(dir:mkdir("a", "0700"))
    local list = assert(dir:list())
    assert.equal(2, #list)
    assert.equal("a", list[1].name)
    assert.equal("directory", list[1].kind)
    local stat = assert(dir:stat("b"))
    stat.name = "b"
    assert.same(stat, list[2])
  end)

  it("takes modes as numbers and as octal text, and nothing else", function()
    assert(dir:create("a", "", tonumber("600", 8)))
    assert(dir:create("b", "", "600"))
    assert(dir:create("c", "", "0600"))
    for _, name in ipairs({ "a", "b", "c" }) do
      assert.equal(384, assert(dir:stat(name)).mode)
    end
    for _, wrong in ipairs({ "rw", "8", "", "0600 ", "-1", "77777", -1, 5000, {} }) do
      assert.has_error(function()
        dir:create("d", "", wrong)
      end)
    end
  end)

  it("reads and writes bytes", function()
    local bytes = "a\0b\255\n"
    assert.is_true(dir:create("x", bytes, "0600"))
    assert.equal(bytes, dir:read("x", 5))
    assert_fails("file.too_big", "/x", dir:read("x", 4))
    assert_fails("file.exists", "/x", dir:create("x", "", "0600"))
    assert.is_true(dir:append("x", "more", "0600"))
    assert.equal("\nmo", dir:read_at("x", 4, 3))
    assert.equal("", dir:read_at("x", 9, 3))
    assert.is_true(dir:replace("x", "", "0600"))
    assert.equal("", dir:read("x", 0))
    assert.equal("", dir:read_at("x", 0, 10))
  end)

  it("replaces with the mode of what was there, and by a file in another folder", function()
    assert(dir:mkdir("beside", "0700"))
    assert(dir:create("x", "", "0644"))
    local beside = assert(dir:open("beside"))
    assert(dir:replace("x", "1", nil, beside))
    assert.equal("1", text_of("x"))
    assert.equal(tonumber("644", 8), assert(dir:stat("x")).mode)
    assert_fails("file.not_found", "/new", dir:replace("new", "1"))
  end)

  it("renames, links, makes and removes", function()
    assert(dir:create("a", "1", "0600"))
    assert.is_true(dir:rename("a", dir, "b"))
    assert.is_true(dir:link("b", dir, "c"))
    assert_fails("file.exists", "/c", dir:rename_exclusive("b", dir, "c"))
    assert.is_true(dir:rename_exclusive("b", dir, "d"))
    assert.is_true(dir:symlink("/any where", "l"))
    assert.equal("/any where", dir:readlink("l"))
    assert.is_true(dir:make_path("p/q", "0700"))
    assert.is_true(dir:rmdir("p/q"))
    assert.is_true(dir:unlink("l"))
    assert.is_true(dir:chmod("d", "0400"))
    assert.same({ "c", "d", "p" }, names())
    assert_fails("file.not_found", "/none", dir:unlink("none"))
    assert_fails("file.exists", "/p", dir:mkdir("p", "0700"))
  end)

  describe("a lock", function()
    it("is exclusive until it is released", function()
      local lock = assert(dir:lock("lock"))
      local other, err = dir:lock("lock")
      assert_fails("file.locked", "/lock", other, err)
      assert.is_true(err.retryable)
      lock:release()
      lock:release()
      assert(dir:lock("lock")):release()
    end)
  end)

  describe("a whole tree", function()
    before_each(function()
      assert(dir:make_path("t/a/b", "0700"))
      assert(dir:create("t/1", ("x"):rep(10000), "0600"))
      assert(dir:link("t/1", dir, "t/a/b/2"))
    end)

    it("is measured", function()
      local bytes, entries, unread = assert(dir:tree_size("t"))
      assert.is_true(bytes >= 10000 and bytes < 100000)
      assert.equal(5, entries)
      assert.equal(0, unread)
      assert_fails("file.not_found", "/none", dir:tree_size("none"))
    end)

    it("is removed, also when it is not there", function()
      assert.is_true(dir:remove_tree("t"))
      assert.is_true(dir:remove_tree("t"))
      assert.same({}, names())
    end)

    it("is removed although the handle is closed meanwhile", function()
      local other = assert(dir:open("."))
      local task = assert(host.task.start(function()
        return other:remove_tree("t")
      end))
      host.time.sleep(0)
      other:close()
      assert.is_true(task:join())
      assert.same({}, names())
    end)

    it("tells what could not be removed", function()
      fault.arm("file.unlink", 2)
      assert_fails("file.io", "/t/", dir:remove_tree("t"))
      assert.is_true(dir:remove_tree("t"))
    end)

    it("is left alone by a task that was cancelled before", function()
      local task = assert(host.task.start(function()
        return dir:remove_tree("t")
      end))
      task:cancel()
      assert_fails("task.cancelled", "", task:join())
      assert.same({ "t" }, names())
    end)

    it("leaves nothing open or running wherever the task is cancelled", function()
      cancel_at_each_yield(function()
        local mine = assert(root:open(folder))
        mine:make_path("u/v", "0700")
        mine:create("u/x", "1", "0600")
        mine:tree_size("u")
        mine:copy("u/x", mine, "u/y")
        mine:remove_tree("u")
        mine:close()
      end)
      assert.is_true(dir:remove_tree("u"))
      assert.same({ "t" }, names())
    end)
  end)

  it("copies one file", function()
    assert(dir:create("x", "1", "0640"))
    assert.is_true(dir:copy("x", dir, "y"))
    assert.equal("1", text_of("y"))
    assert.equal(tonumber("640", 8), assert(dir:stat("y")).mode)
    assert_fails("file.not_found", "/none", dir:copy("none", dir, "y"))
    fault.arm("file.write", 1)
    assert_fails("file.full", "/z", dir:copy("x", dir, "z"))
    assert.same({ "x", "y" }, names())
  end)

  describe("a watch", function()
    it("returns at once what has changed since the last call", function()
      local watch = assert(dir:watch())
      assert.is_false(watch:wait(0))
      assert(dir:create("x", "", "0600"))
      assert.is_true(watch:wait(60000))
      assert.is_false(watch:wait(0))
      watch:close()
    end)

    it("wakes its waiter when something changes", function()
      local watch = assert(dir:watch())
      local task = assert(host.task.start(function()
        return watch:wait(60000)
      end))
      host.time.sleep(0)
      assert(dir:create("x", "", "0600"))
      assert.is_true(task:join())
      assert.is_false(watch:wait(0))
    end)

    it("ends its wait when the time is over", function()
      local watch = assert(dir:watch())
      assert.is_false(watch:wait(1))
    end)

    it("takes more directories", function()
      assert(dir:mkdir("a", "0700"))
      local a = assert(dir:open("a"))
      local watch = assert(a:watch())
      assert(dir:create("x", "", "0600"))
      assert.is_false(watch:wait(0))
      assert.is_true(watch:add(dir))
      assert(dir:create("y", "", "0600"))
      assert.is_true(watch:wait(60000))
    end)

    it("may be closed or collected while a task waits", function()
      local watch = assert(dir:watch())
      local task = assert(host.task.start(function()
        return watch:wait(60000), dir:watch():wait(60000)
      end))
      host.time.sleep(0)
      watch:close()
      assert.has_error(function()
        watch:wait(0)
      end)
      assert(dir:create("x", "", "0600"))
      host.time.sleep(0)
      watch = nil -- luacheck: ignore
      collectgarbage()
      while not task:done() do
        assert(dir:create(host.random.hex(8), "", "0600"))
        host.time.sleep(1)
      end
      assert.same({ true, true }, { task:join() })
    end)

    it("leaves nothing when its task is cancelled or past its deadline", function()
      cancel_at_each_yield(function()
        local watch = assert(dir:watch())
        watch:wait(1)
        watch:close()
      end)
      local watch = assert(dir:watch())
      local ok, err = host.task.deadline(1, function()
        return watch:wait(60000)
      end)
      assert_fails("task.deadline", "", ok, err)
      assert.is_false(watch:wait(0))
    end)

    it("that the kernel refuses says which setting to raise", function()
      fault.arm("file.watch", 1)
      assert_fails("file.io", "max_user_instances", dir:watch())
    end)
  end)

  it("leaves nothing open or behind whichever call fails", function()
    local function all()
      local mine = root:open(folder)
      if not mine then
        return
      end
      mine:make_path("u/v", "0700")
      mine:create("u/x", "1", "0600")
      mine:replace("u/x", "2")
      mine:append("u/x", "3", "0600")
      mine:read("u/x", 10)
      mine:read_at("u/x", 1, 10)
      mine:list()
      mine:stat("u")
      mine:touch("u/x", 1)
      local lock = mine:lock("u/lock")
      if lock then
        lock:release()
      end
      local watch = mine:watch()
      if watch then
        watch:add(mine)
        watch:wait(1)
        watch:close()
      end
      mine:rename_exclusive("u/x", mine, "u/y")
      mine:tree_size("u")
      mine:copy("u/y", mine, "u/z")
      mine:remove_tree("u")
      mine:close()
    end
    local function descriptors()
      collectgarbage()
      collectgarbage()
      local fds = assert(root:open("/proc/self/fd"))
      local n = #assert(fds:list())
      fds:close()
      return n
    end
    all()
    fault.reset()
    local before = descriptors()
    all()
    local points = fault.names()
    assert.is_true(#points > 10)
    for _, point in ipairs(points) do
      if point:find("^file%.") then
        for nth = 1, 3 do
          fault.reset()
          fault.arm(point, nth)
          all()
          fault.reset()
          host.time.sleep(0)
          assert(dir:remove_tree("u"))
          assert.same({}, names(), point .. " " .. nth)
          assert.equal(before, descriptors(), point .. " " .. nth)
        end
      end
    end
  end)
end)
