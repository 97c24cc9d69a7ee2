-- host.archive as Lua sees it: both works of a call, its arguments, results, errors and cancellation. What an archive
-- becomes, and what a hostile one does not, is proven in spec/c/test_archive_*.c.

local root = host.file.root

describe("host.archive", function()
  local folder, dir

  before_each(function()
    folder = "/tmp/moonrunner-archive-spec-" .. host.random.hex(12)
    assert(root:mkdir(folder, "0700"))
    dir = assert(root:open(folder))
    assert(dir:make_path("tree/sub", "0755"))
    assert(dir:create("tree/file", "hello", "0640"))
    assert(dir:create("tree/sub/deep", "deep", "0644"))
    assert(dir:create("tree/sub/cache.pyc", "compiled", "0644"))
  end)

  after_each(function()
    fault.reset()
    dir:close()
    assert(root:remove_tree(folder))
  end)

  local function pack(from, to, more)
    local arguments = more or {}
    arguments.from_dir, arguments.from, arguments.to_dir, arguments.to = dir, from, dir, to
    return host.archive.pack(arguments)
  end

  local function unpack(from, to, more)
    local arguments = more or {}
    arguments.from_dir, arguments.from, arguments.to_dir, arguments.to = dir, from, dir, to
    return host.archive.unpack(arguments)
  end

  local function names(of)
    local found = {}
    local sub = assert(dir:open(of))
    for i, entry in ipairs(assert(sub:list())) do
      found[i] = entry.name
    end
    sub:close()
    return found
  end

  -- What is there besides the tree: nothing half written, whatever happened.
  local function others()
    local found = {}
    for _, entry in ipairs(assert(dir:list())) do
      if entry.name ~= "tree" then
        found[#found + 1] = entry.name
      end
    end
    return found
  end

  it("packs a folder and unpacks it again", function()
    local packed = assert(pack("tree", "tree.tar"))
    assert.same({
      bytes_packed = 10240, bytes_unpacked = 17, entries = 4, skipped = 0, sha256 = packed.sha256, single_file = false,
    }, packed)
    assert.equal(host.digest.sha256(assert(dir:read("tree.tar", 20000))), packed.sha256)
    assert.same(packed, (assert(unpack("tree.tar", "again/"))))
    assert.same({ "file", "sub" }, names("again"))
    assert.equal("hello", dir:read("again/file", 10))
    assert.same({ "again", "tree.tar" }, others())
  end)

  it("packs a file as one entry and unpacks it to a file, not older than the floor", function()
    local floor = host.time.wall() + 3600000
    assert(dir:touch("tree/file", 1000000))
    local packed = assert(pack("tree/file", "retval.tar", { mtime_floor = floor }))
    assert.is_true(packed.single_file)
    assert.is_true(assert(unpack("retval.tar", "retval")).single_file)
    assert.equal("hello", dir:read("retval", 10))
    assert.is_true(assert(dir:stat("retval")).mtime >= floor)
  end)

  it("leaves out what the patterns say, and does not count it", function()
    local packed = assert(pack("tree", "tree.tar", { ignore = { "*.pyc", "/file" } }))
    assert.equal(0, packed.skipped)
    assert(unpack("tree.tar", "again"))
    assert.same({ "sub" }, names("again"))
    assert.same({ "deep" }, names("again/sub"))
  end)

  it("reports failures of either end as nil and an error, and leaves nothing", function()
    local function fails(code, ok, err)
      assert.is_nil(ok)
      assert.equal(code, err.code)
      assert.same({}, others())
    end
    fails("file.not_found", unpack("missing.tar", "out"))
    fails("file.not_regular", unpack("tree", "out"))
    fails("archive.corrupt", unpack("tree/file", "out"))
    fails("file.not_found", pack("missing", "out.tar"))
    fails("file.not_found", pack("tree", "missing/out.tar"))
    fails("archive.too_big", pack("tree", "out.tar", { max_bytes = 16 }))
    fails("file.not_empty", pack("tree/file", "tree"))
    assert.equal("hello", dir:read("tree/file", 10))
  end)

  it("keeps the limits that it is given", function()
    assert(pack("tree", "tree.tar"))
    local _, err = unpack("tree.tar", "out", { max_bytes = 16 })
    assert.equal("archive.too_big", err.code)
    _, err = unpack("tree.tar", "out", { max_entries = 3 })
    assert.equal("archive.too_many", err.code)
    assert(unpack("tree.tar", "out", { max_entries = 4, max_bytes = 17, max_ratio = 1 }))
    assert.same({ "out", "tree.tar" }, others())
  end)

  it("raises for wrong arguments, a misspelt limit included", function()
    local good = { from_dir = dir, from = "a", to_dir = dir, to = "b" }
    local function with(name, value)
      local arguments = {}
      for _, key in ipairs({ "from_dir", "from", "to_dir", "to" }) do
        arguments[key] = good[key]
      end
      arguments[name] = value
      return arguments
    end
    local wrong = {
      { with("max_byte", 1), "max_byte: no such argument" },
      { with("max_bytes", -1), "max_bytes" },
      { with("max_bytes", "1"), "max_bytes" },
      { with("max_ratio", 0 / 0), "max_ratio" },
      { with("from", 1), "from" },
      { with("from", "a\0b"), "NUL" },
      { with("from_dir", "text"), "host.file.dir" },
      { { from_dir = dir, from = "a", to = "b" }, "to_dir" },
    }
    for _, case in ipairs(wrong) do
      local ok, message = pcall(host.archive.unpack, case[1])
      assert.is_false(ok)
      assert.is_truthy(message:find(case[2], 1, true), message)
    end
    assert.is_false((pcall(host.archive.pack, with("ignore", { 1 }))))
    assert.is_false((pcall(host.archive.pack, with("ignore", "text"))))
    assert.is_false((pcall(host.archive.pack, nil)))
  end)

  it("works on after its handles were closed and collected", function()
    assert(pack("tree", "tree.tar"))
    local task = assert(host.task.start(function()
      local own = assert(root:open(folder))
      local arguments = { from_dir = own, from = "tree.tar", to_dir = own, to = "out" }
      return host.archive.unpack(arguments), own:close()
    end))
    collectgarbage()
    assert.equal(4, assert(task:join()).entries)
  end)

  it("leaves nothing when it is cancelled while it waits", function()
    assert(pack("tree", "tree.tar"))
    cancel_at_each_yield(function()
      return unpack("tree.tar", "out")
    end, function()
      assert(dir:remove_tree("out"))
      assert.same({ "tree.tar" }, others())
    end)
    cancel_at_each_yield(function()
      return pack("tree", "again.tar")
    end, function()
      assert(dir:remove_tree("again.tar"))
      assert.same({ "tree.tar" }, others())
    end)
  end)

  it("fails cleanly at every call that can fail", function()
    assert(pack("tree", "tree.tar"))
    local calls = {
      function() return unpack("tree.tar", "out") end,
      function() return pack("tree", "out", { ignore = { "none" } }) end,
    }
    local points = {
      "archive.memory", "archive.create", "archive.mkdir", "archive.rename", "archive.write", "base.pipe_create",
      "base.pipe_read_file", "base.pipe_write_file", "archive.meta",
    }
    for _, call in ipairs(calls) do
      for _, point in ipairs(points) do
        for nth = 1, 100 do
          fault.reset()
          fault.arm(point, nth)
          local result, err = call()
          if result then
            assert(dir:remove_tree("out"))
            break
          end
          assert.is_string(err.code)
          assert.same({ "tree.tar" }, others())
        end
      end
    end
  end)
end)
