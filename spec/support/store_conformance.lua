-- What every store must do: a function that adds its tests, for one kind of store.
--
-- The store's world:
--     world = make()                       an empty place
--     world:store() -> store               each its own, as on several hosts
--     world:write_document(key, text)      as the client does      world:delete_document(key)
--     world:put(key, bytes)                an artifact, as the client uploads it
--     world.scratch                        an empty spec_folder, for what a job has
--     world:close()
local assert = require "luassert"
local busted = require "busted"
local scope = require "scope"

local describe, it = busted.describe, busted.it
local before_each, after_each = busted.before_each, busted.after_each

local KEY = "experiments/1795527139_abc"
local BAD_KEYS = { "../outside", "experiments/../../outside", "/etc/passwd", "", "experiments/\0x", "." }

return function(name, make)
  describe("the store " .. name, function()
    local world, store, dir

    before_each(function()
      world = make()
      store = world:store()
      dir = assert(host.file.root:open(world.scratch:at()))
    end)

    after_each(function()
      dir:close()
      store:close()
      world:close()
    end)

    -- A tar of what `write` lists as {name, text}, made by tar(1).
    local function tar(files, names)
      for _, file in ipairs(files) do
        world.scratch:write("source/" .. file[1], file[2])
      end
      local path = world.scratch:at("made.tar")
      assert(os.execute(("tar -cf '%s' -C '%s' %s"):format(path, world.scratch:at("source"), names)) == 0)
      local bytes = world.scratch:read("made.tar")
      host.file.root:remove_tree(world.scratch:at("source"))
      host.file.root:unlink(path)
      return bytes
    end

    describe("keeps documents:", function()
      it("one that is not there is store.not_found", function()
        local text, err = store:read_document(KEY)
        assert.is_nil(text)
        assert.equal("store.not_found", err.code)
      end)

      it("what the client wrote is read byte for byte", function()
        local text = '{"args": [],\n "time_added": 1795527139.1530757, "status": "waiting"}'
        world:write_document(KEY, text)
        assert.equal(text, (store:read_document(KEY)))
      end)

      it("one is written while nobody else wrote", function()
        world:write_document(KEY, '{"n": 1}')
        local _, version = store:read_document(KEY)
        local next_version = assert(store:put_if(KEY, '{"n": 2}', version))
        assert.equal('{"n": 2}', (store:read_document(KEY)))
        assert(store:put_if(KEY, '{"n": 3}', next_version))
        assert.equal('{"n": 3}', (store:read_document(KEY)))
      end)

      it("what the client wrote meanwhile is not overwritten", function()
        world:write_document(KEY, '{"n": 1}')
        local _, version = store:read_document(KEY)
        world:write_document(KEY, '{"n": 7}')
        local written, err = store:put_if(KEY, '{"n": 2}', version)
        assert.is_nil(written)
        assert.equal("store.changed", err.code)
        assert.is_true(err.retryable)
        assert.equal('{"n": 7}', (store:read_document(KEY)))
      end)

      it("one is made only if there is none", function()
        assert(store:put_if(KEY, '{"n": 1}', false))
        local written, err = store:put_if(KEY, '{"n": 2}', false)
        assert.is_nil(written)
        assert.equal("store.changed", err.code)
        assert.equal('{"n": 1}', (store:read_document(KEY)))
      end)

      it("one that was deleted is not made again", function()
        world:write_document(KEY, '{"n": 1}')
        local _, version = store:read_document(KEY)
        world:delete_document(KEY)
        local written, err = store:put_if(KEY, '{"n": 2}', version)
        assert.is_nil(written)
        assert.equal("store.changed", err.code)
        local text
        text, err = store:read_document(KEY)
        assert.is_nil(text)
        assert.equal("store.not_found", err.code)
      end)

      it("hosts that count together lose no count", function()
        world:write_document(KEY, '{"n": 0}')
        local hosts, each = 4, 10
        local function count()
          local own = world:store()
          local done = 0
          while done < each do
            local text, version = own:read_document(KEY)
            local n = tonumber(text:match("%d+"))
            host.time.sleep(1) -- the others' turn
            local written, err = own:put_if(KEY, ('{"n": %d}'):format(n + 1), version)
            if written then
              done = done + 1
            else
              assert.equal("store.changed", err.code)
            end
          end
          own:close()
          return true
        end
        local counters = {}
        for i = 1, hosts do
          counters[i] = count
        end
        assert(scope.all(counters))
        assert.equal(('{"n": %d}'):format(hosts * each), (store:read_document(KEY)))
      end)
    end)

    describe("brings artifacts:", function()
      it("one that is not there is store.not_found, and leaves nothing", function()
        for _, unpack in ipairs({ true, false }) do
          local result, err = store:fetch({ key = "experiments/k/modeldir.tar", unpack = unpack }, dir, "modeldir", {})
          assert.is_nil(result)
          assert.equal("store.not_found", err.code)
        end
        assert.same({}, world.scratch:files())
        assert.is_false(store:exists({ key = "experiments/k/modeldir.tar" }))
      end)

      it("a folder is unpacked", function()
        world:put("blobstore/00.tar", tar({ { "job.py", "print(1)" }, { "sub/data", "2" } }, "job.py sub"))
        local artifact = { key = "blobstore/00.tar", unpack = true, mutable = false }
        assert.is_true(store:exists(artifact))
        local result = assert(store:fetch(artifact, dir, "workspace", {}))
        assert.is_false(result.single_file)
        assert.same({ "workspace/job.py", "workspace/sub/data" }, world.scratch:files())
        assert.equal("print(1)", world.scratch:read("workspace/job.py"))
      end)

      it("a single file becomes a file", function()
        world:put("experiments/k/retval.tar", tar({ { "retval", "42" } }, "./retval"))
        assert(store:fetch({ key = "experiments/k/retval.tar", unpack = true }, dir, "retval", {}))
        assert.equal("42", world.scratch:read("retval"))
      end)

      it("one whose `unpack` is left open is unpacked if it is called a tar", function()
        local bytes = tar({ { "a", "1" } }, "a")
        world:put("experiments/k/a.tar.gz", bytes)
        world:put("experiments/k/b.bin", bytes)
        assert(store:fetch({ key = "experiments/k/a.tar.gz" }, dir, "a", {}))
        assert(store:fetch({ key = "experiments/k/b.bin" }, dir, "b", {}))
        assert.same({ "a/a", "b/b.bin" }, world.scratch:files())
      end)

      it("one that is not to be unpacked is the only file of its folder", function()
        local bytes = ("\0\1\2\255"):rep(70000)
        world:put("experiments/k/data.npy", bytes)
        local result = assert(store:fetch({ key = "experiments/k/data.npy", unpack = false }, dir, "data", {}))
        assert.equal(#bytes, result.bytes)
        assert.same({ "data/data.npy" }, world.scratch:files())
        assert.is_true(bytes == world.scratch:read("data/data.npy"))
      end)

      it("one that is too big is refused, and leaves nothing", function()
        local bytes = tar({ { "big", ("x"):rep(100000) } }, "big")
        world:put("experiments/k/big.tar", bytes)
        for _, unpack in ipairs({ true, false }) do
          local artifact = { key = "experiments/k/big.tar", unpack = unpack }
          local result, err = store:fetch(artifact, dir, "big", { max_bytes = 50000 })
          assert.is_nil(result)
          assert.equal("archive.too_big", err.code)
          assert.same({}, world.scratch:files())
          assert.is_nil(world.scratch:stat("big"))
        end
      end)

      it("one that is no archive is said to be broken", function()
        world:put("experiments/k/workspace.tar", ("no tar at all"):rep(100))
        local result, err = store:fetch({ key = "experiments/k/workspace.tar", unpack = true }, dir, "workspace", {})
        assert.is_nil(result)
        assert.equal("archive.corrupt", err.code)
        assert.is_truthy(err.message:find("experiments/k/workspace.tar", 1, true))
      end)
    end)

    describe("saves artifacts:", function()
      local artifact = { key = "experiments/k/modeldir.tar", mutable = true, unpack = true }

      it("what was saved comes back", function()
        world.scratch:write("modeldir/weights", "1 2 3")
        world.scratch:write("modeldir/sub/more", "4")
        local result = assert(store:save(artifact, dir, "modeldir"))
        assert.equal(2, result.entries - 1) -- and the folder sub
        assert.is_true(store:exists(artifact))
        assert(store:fetch(artifact, dir, "back", {}))
        assert.equal("1 2 3", world.scratch:read("back/weights"))
        assert.equal("4", world.scratch:read("back/sub/more"))
      end)

      it("a file comes back as a file", function()
        world.scratch:write("retval", "42")
        assert(store:save({ key = "experiments/k/retval.tar", mutable = true }, dir, "retval"))
        assert(store:fetch({ key = "experiments/k/retval.tar", unpack = true }, dir, "back", {}))
        assert.equal("42", world.scratch:read("back"))
      end)

      it("a later save replaces the earlier one", function()
        for _, text in ipairs({ "first", "second" }) do
          world.scratch:write("modeldir/weights", text)
          assert(store:save(artifact, dir, "modeldir"))
        end
        assert(store:fetch(artifact, dir, "back", {}))
        assert.equal("second", world.scratch:read("back/weights"))
      end)

      it("nothing is stored of what is not there", function()
        local result, err = store:save(artifact, dir, "modeldir")
        assert.is_nil(result)
        assert.is_string(err.code)
        assert.is_false(store:exists(artifact))
      end)

      it("an immutable one is not touched", function()
        world:put("blobstore/00.tar", "bytes")
        world.scratch:write("workspace/job.py", "evil")
        local result, err = store:save({ key = "blobstore/00.tar", mutable = false }, dir, "workspace")
        assert.is_nil(result)
        assert.equal("store.denied", err.code)
      end)
    end)

    it("refuses keys that lead out of it", function()
      world.scratch:write("x", "1")
      for _, key in ipairs(BAD_KEYS) do
        local artifact = { key = key, mutable = true, unpack = false }
        for what, answer in pairs({
          read = { store:read_document(key) },
          put = { store:put_if(key, "{}", false) },
          put_over = { store:put_if(key, "{}", "some version") },
          fetch = { store:fetch(artifact, dir, "out", {}) },
          save = { store:save(artifact, dir, "x") },
          exists = { store:exists(artifact) },
        }) do
          assert.is_nil(answer[1], what)
          assert.equal("store.denied", answer[2].code, what)
        end
      end
      assert.same({ "x" }, world.scratch:files())
    end)

    it("has a clock", function()
      assert.is_true(math.abs(store:now() - host.time.wall()) < 3600 * 1000)
    end)
  end)
end
