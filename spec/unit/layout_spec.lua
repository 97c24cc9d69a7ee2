local json = require "json"
local layout = require "studioml.layout"
local spec_folder = require "spec_folder"

describe("the layout of a job's folder", function()
  local place, directory, experiment

  before_each(function()
    place = spec_folder.make()
    directory = assert(host.file.root:open(place:at()))
    experiment = assert(layout.make(directory, "e"))
  end)

  after_each(function()
    experiment:close()
    directory:close()
    place:remove()
  end)

  local function complete(...)
    local artifacts = {}
    for index, tag in ipairs({ ... }) do
      artifacts[index] = { tag = tag }
    end
    assert(layout.complete(experiment, directory, place:at(), "e", artifacts))
  end

  it("has every artifact where both of the client's ways lead", function()
    complete("workspace", "data", "output")
    local mapping = json.decode(place:read("artifact_mappings/e/artifacts.json"))
    assert.same({
      workspace = place:at("experiments/e/workspace"), data = place:at("experiments/e/data"),
      output = place:at("experiments/e/output"),
    }, mapping)
    assert.equal(layout.mapping_file(place:at(), "e"), place:at("artifact_mappings/e/artifacts.json"))
  end)

  it("makes the folders that the library expects of its own tags, and no others", function()
    complete("modeldir", "data", "retval")
    assert.equal("directory", place:stat("experiments/e/modeldir").kind)
    assert.equal("directory", place:stat("experiments/e/workspace").kind)
    for _, tag in ipairs({ "data", "retval", "tb" }) do
      assert.is_nil(place:stat("experiments/e/" .. tag))
    end
  end)

  it("keeps what was fetched", function()
    place:write("experiments/e/modeldir/m", "x")
    complete("modeldir", "workspace")
    assert.equal("x", place:read("experiments/e/modeldir/m"))
  end)

  it("cannot be used twice for one key, so that no job finds another's mapping", function()
    complete("workspace")
    local made, err = layout.complete(experiment, directory, place:at(), "e", {})
    assert.is_nil(made)
    assert.equal("file.exists", err.code)
  end)

  describe("packs", function()
    local function packed(tag)
      local folder, name, err = layout.packed(experiment, tag)
      local path = folder and folder:path() .. "/" .. name
      if folder and folder ~= experiment then
        folder:close()
      end
      return path, err
    end

    it("nothing for a tag that the job did not make", function()
      local path, err = packed("tb")
      assert.is_nil(path)
      assert.is_nil(err)
    end)

    it("a file as itself, and a folder as itself", function()
      place:write("experiments/e/retval", "1")
      place:write("experiments/e/modeldir/m", "1")
      place:make_path("experiments/e/tb")
      for _, tag in ipairs({ "retval", "modeldir", "tb" }) do
        assert.equal(place:at("experiments/e/" .. tag), packed(tag))
      end
    end)

    it("a folder that holds only a file of its own name as that file", function()
      place:write("experiments/e/output/output", "1")
      assert.equal(place:at("experiments/e/output/output"), packed("output"))
      place:write("experiments/e/output/more", "1")
      assert.equal(place:at("experiments/e/output"), packed("output"))
      place:make_path("experiments/e/tb/tb")
      assert.equal(place:at("experiments/e/tb"), packed("tb"))
    end)
  end)
end)
