-- What `moonrunner submit` sends is what the StudioML client sends, and what the runner reads.
local document = require "studioml.document"
local folder_submit = require "queue.folder_submit"
local json = require "json"
local message = require "studioml.message"
local spec_folder = require "spec_folder"
local submission = require "studioml.submission"
local user_path = require "user_path"

local DEFAULTS = { cores = 1, mem = 1, disk = 1 }

local function sorted_names(object)
  local names = {}
  for name in pairs(object) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

describe("a submission", function()
  local place

  before_each(function()
    place = spec_folder.make()
    place:write("project/job.py", "print(1)")
  end)

  after_each(function()
    fault.reset()
    place:remove()
  end)

  local function try(changes)
    local request = {
      key = "e1", folder = place:at("project"), program = "job.py", arguments = {}, store = place:at("store"),
      needs = { cpus = 2, gpus = 0, ram = "1g" }, captures = {}, requirements = {}, python_version = "3",
    }
    for name, value in pairs(changes or {}) do
      request[name] = value
    end
    return submission.make(request)
  end

  local function make(changes)
    local made = assert(try(changes))
    return made, assert(message.parse(made.message, DEFAULTS))
  end

  -- What the archive of an artifact holds: sorted names.
  local function packed(job, tag)
    for _, artifact in ipairs(job.artifacts) do
      if artifact.tag == tag then
        assert(host.file.root:remove_tree(place:at("unpacked")))
        assert(host.archive.unpack({
          from_dir = host.file.root, from = place:at("store/storage/" .. artifact.key),
          to_dir = host.file.root, to = place:at("unpacked"),
        }))
        return place:files("unpacked")
      end
    end
  end

  it("is read back as the job that was asked for", function()
    local _, job = make({ arguments = { "a b", "--x=$HOME", "it's" }, requirements = { "numpy==1.26", "click" },
      max_duration = "5m", lifetime = "2h" })
    assert.same({ "a b", "--x=$HOME", "it's" }, job.arguments)
    assert.same({ "numpy==1.26", "click" }, job.requirements)
    assert.same({ "e1", "job.py", 300000, 7200000 }, { job.key, job.program, job.max_duration, job.lifetime })
    assert.same({ cores = 2, mem = 1e9, disk = 1, gpus = 0, gpu_mem = 0 }, job.needs)
    assert.is_true(math.abs(job.added - host.time.wall()) < 60000)
    assert.same({ type = "local", endpoint = place:at("store"), bucket = "storage" }, job.storage)
    assert.same({ type = "local", endpoint = place:at("store"), bucket = "studioml-meta" }, job.database)
  end)

  it("has the members that the real client's has, no more and no less", function()
    local made = make()
    local ours = json.decode(made.message).experiment
    local client = json.decode(host.file.root:read("spec/support/client/message.json", 100000)).experiment
    assert.equal(19, #sorted_names(client))
    assert.same(sorted_names(client), sorted_names(ours))
    for _, tag in ipairs(sorted_names(client.artifacts)) do
      if tag == "workspace" then
        assert.same(sorted_names(client.artifacts[tag]), sorted_names(ours.artifacts[tag]))
      end
      assert.equal(client.artifacts[tag].mutable, (ours.artifacts[tag] or client.artifacts[tag]).mutable, tag)
    end
    assert.equal("file:/" .. place:at("store/storage/") .. ours.artifacts.workspace.key,
      ours.artifacts.workspace.qualified)
  end)

  it("keeps empty lists lists, in the message and in the document", function()
    local made = make()
    for _, text in ipairs({ made.message, made.document }) do
      assert.is_truthy(text:find('"args": []', 1, true))
      assert.is_truthy(text:find('"pythonenv": []', 1, true))
    end
  end)

  it("packs the project without what .studioml_ignore names", function()
    place:write("project/.studioml_ignore", "# big things\n*.bin\n\ndata/\n")
    place:write("project/model.bin", "x")
    place:write("project/data/x", "x")
    place:write("project/src/a.py", "x")
    local _, job = make()
    assert.same({ ".studioml_ignore", "job.py", "src/a.py" }, packed(job, "workspace"))
  end)

  it("takes the same project once, whoever sends it", function()
    local first, second = make(), make({ key = "e2" })
    assert.equal(first.packed.key, second.packed.key)
    assert.equal(1, #place:files("store/storage/blobstore"))
  end)

  it("takes files and folders beside the project under their tags", function()
    place:write("data/one.txt", "1")
    local _, job = make({ captures = { place:at("data") .. ":a", place:at("data/one.txt") .. ":b" } })
    assert.same({ "one.txt" }, packed(job, "a"))
    packed(job, "b")
    assert.equal("1", place:read("unpacked"))
  end)

  it("follows the links that a user gives: project, store, bucket and captures", function()
    place:write("data/one.txt", "1")
    place:make_path("store")
    place:make_path("elsewhere")
    for name, target in pairs({ link = "project", data_link = "data", file_link = "data/one.txt",
      ["store/storage"] = place:at("elsewhere"), store_link = "store" }) do
      assert(host.file.root:symlink(target, place:at(name)))
    end
    local _, job = make({ folder = place:at("link"), store = place:at("store_link"),
      captures = { place:at("data_link") .. ":a", place:at("file_link") .. ":b" } })
    assert.same({ "job.py" }, packed(job, "workspace"))
    assert.same({ "one.txt" }, packed(job, "a"))
    packed(job, "b")
    assert.equal("1", place:read("unpacked"))
    assert.equal(3, #place:files("elsewhere"))
  end)

  for text, problem in pairs({
    ["/no/colon"] = "should be PATH:TAG", ["a:b/c"] = "should be PATH:TAG", [":tag"] = "should be PATH:TAG",
    ["/not/there:x"] = "--capture-once /not/there:x: ", ["~/x:y"] = "begins with ~",
  }) do
    it(("refuses to capture %q, and says why"):format(text), function()
      local made, err = try({ captures = { text } })
      assert.is_nil(made)
      assert.is_truthy(err.message:find(problem, 1, true), err.message)
    end)
  end

  it("leaves nothing half-packed in the store when a call fails", function()
    local function blobs()
      local names = {}
      for _, file in ipairs(place:files("store/storage")) do
        assert.matches("^blobstore/%x+%.tar$", file)
        names[#names + 1] = file
      end
      return names
    end
    fault.reset()
    make()
    local points = fault.names()
    table.sort(points)
    for _, point in ipairs(points) do
      for nth = 1, 3 do
        fault.reset()
        fault.arm(point, nth)
        local made, err = try()
        local fired = fault.count(point) >= nth
        fault.reset()
        assert.is_true(made ~= nil or type(err.message) == "string")
        if point ~= "file.unlink" then
          blobs()
        end
        if not fired then
          break
        end
      end
    end
  end)

  it("writes a document that is the message's experiment, and never over another one", function()
    local made = make()
    assert.is_true(submission.write_document(made))
    assert.equal(made.document, place:read("store/studioml-meta/experiments/e1"))
    assert.equal("waiting", document.get(made.document).status)
    assert.matches("^%d+$", place:read("store/studioml-meta/users/guest/experiments/e1"))
    local again, err = submission.write_document(made)
    assert.is_nil(again)
    assert.equal("file.exists", err.code)
  end)
end)

describe("a message that is put into a queue", function()
  local place

  before_each(function()
    place = spec_folder.make()
  end)

  after_each(function()
    fault.reset()
    place:remove()
  end)

  it("is one whole file named by a UUID; the queue is made when it is not there", function()
    local name = assert(folder_submit.submit(place:at("queues"), "q", "text"))
    assert.matches("^%x+%-%x+%-%x+%-%x+%-%x+$", name)
    assert.same({ "q/" .. name }, place:files("queues"))
    assert.equal("text", place:read("queues/q/" .. name))
  end)

  it("goes into a folder of queues that is reached by a link", function()
    place:make_path("real")
    assert(host.file.root:symlink("real", place:at("queues")))
    assert(folder_submit.submit(place:at("queues"), "q", "text"))
    assert.equal(1, #place:files("real"))
  end)

  for title, name in pairs({ nothing = "", [".hidden"] = ".hidden", ["a/b"] = "a/b", ["a, newline, b"] = "a\nb",
    ["a byte that is no UTF-8"] = "\255" }) do
    it("is refused for a queue named " .. title, function()
      local sent, err = folder_submit.submit(place:at("queues"), name, "text")
      assert.is_nil(sent)
      assert.equal("option.invalid", err.code)
      assert.is_nil(place:stat("queues"))
    end)
  end

  it("says what is wrong with a queue that is no folder", function()
    place:write("queues/q", "a file")
    local sent, err = folder_submit.submit(place:at("queues"), "q", "text")
    assert.is_nil(sent)
    assert.matches("queues/q", err.message)
  end)

  it("is there whole or not at all, whatever fails, and nothing else is left", function()
    fault.reset()
    assert(folder_submit.submit(place:at("queues"), "q", "text"))
    local points = fault.names()
    table.sort(points)
    for _, point in ipairs(points) do
      for nth = 1, 20 do
        local before = #place:files("queues/q")
        fault.reset()
        fault.arm(point, nth)
        local sent, err = folder_submit.submit(place:at("queues"), "q", "text")
        local fired = fault.count(point) >= nth
        fault.reset()
        assert.is_true(sent ~= nil or type(err.message) == "string")
        local files = place:files("queues/q")
        assert.equal(sent and before + 1 or before, #files, ("%s, pass %d: sent or not?"):format(point, nth))
        for _, file in ipairs(files) do
          assert.equal("text", place:read("queues/q/" .. file))
        end
        if not fired then
          break
        end
      end
    end
  end)
end)

describe("a path that a user gives", function()
  it("is absolute afterwards, and its last component is no link", function()
    local place = spec_folder.make()
    finally(function() place:remove() end)
    place:write("d/real", "x")
    assert(host.file.root:symlink("real", place:at("d/one")))
    assert(host.file.root:symlink("../d/one", place:at("d/two")))
    assert.equal(place:at("d/../d/real"), user_path.resolve(place:at("d/two")))
    assert.equal(place:at("d"), user_path.resolve(place:at("d") .. "//"))
    assert.equal(place:at("nothing"), user_path.resolve(place:at("nothing")))
    assert.equal(host.environment.working_folder() .. "/spec", user_path.resolve("spec"))
  end)

  it("that leads in a circle is refused", function()
    local place = spec_folder.make()
    finally(function() place:remove() end)
    assert(host.file.root:symlink("b", place:at("a")))
    assert(host.file.root:symlink("a", place:at("b")))
    local path, err = user_path.resolve(place:at("a"))
    assert.is_nil(path)
    assert.matches("too many links", err.message)
  end)
end)
