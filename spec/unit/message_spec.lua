local json = require "json"
local message = require "studioml.message"

local DEFAULTS = { cores = 1, mem = 2000000000, disk = 3000000000 }

-- A whole message with these changes to `experiment` and `config`; json.null removes nothing, it stays null.
local function with(experiment, config)
  local whole = {
    key = "e1", filename = "job.py", args = { "'a b'", "--x=1" }, pythonver = "3.11",
    resources_needed = { gpus = 0, cpus = 2, ram = "1g", hdd = "4g" }, time_added = 1795527098.66,
    artifacts = { workspace = { unpack = true, mutable = false, key = "blobstore/b2.tar" } },
  }
  for name, value in pairs(experiment or {}) do
    whole[name] = value
  end
  return json.encode({ experiment = whole, config = config or {} })
end

local function parse(experiment, config)
  return message.parse(with(experiment, config), DEFAULTS)
end

local function refusal(text)
  local job, err = message.parse(text, DEFAULTS)
  assert.is_nil(job)
  assert.equal("message.invalid", err.code)
  assert.is_false(err.retryable)
  return err.message
end

local function refused(experiment, config)
  return refusal(with(experiment, config))
end

describe("a message of the real client", function()
  it("becomes a job with every field that a runner uses", function()
    local text = host.file.root:read("spec/support/client/message.json", 100000)
    local job = assert(message.parse(text, DEFAULTS))
    assert.equal("e1", job.key)
    assert.equal("job.py", job.program)
    assert.same({ "a b", "--x=1" }, job.arguments)
    assert.equal("3.11", job.python_version)
    assert.equal(53, #job.requirements)
    assert.same({ cores = 1, mem = 1000000000, disk = 1000000000, gpus = 0, gpu_mem = 0 }, job.needs)
    assert.equal(300000, job.max_duration)
    assert.equal("guest", job.owner)
    assert.is_false(job.lifetime)
    assert.equal(1795527098661, job.added)
    assert.same({ MYVAR = "hello" }, job.environment)
    assert.same({ type = "local", endpoint = "/home/user/store", bucket = "artb" }, job.storage)
    assert.same({ type = "local", endpoint = "/home/user/store", bucket = "dbb" }, job.database)
    assert.equal(8, #job.artifacts)
  end)
end)

describe("what a message may leave out", function()
  it("is replaced by the defaults of the host", function()
    local job = assert(parse({ resources_needed = json.null, args = json.null, pythonver = json.null,
      time_added = json.null, artifacts = json.null }))
    assert.same({ cores = 1, mem = 2000000000, disk = 3000000000, gpus = 0, gpu_mem = 0 }, job.needs)
    assert.same({}, job.arguments)
    assert.is_false(job.python_version)
    assert.is_false(job.added)
    assert.same({}, job.artifacts)
  end)

  it("may be the unpack of a reused artifact: its key's suffix tells", function()
    local job = assert(parse({ artifacts = {
      a = { key = "x/a.tar", unpack = json.null }, b = { key = "x/b.tar.gz" }, c = { key = "x/c.bin" } } }))
    assert.is_true(job.artifacts[1].unpack)
    assert.is_true(job.artifacts[2].unpack)
    assert.is_false(job.artifacts[3].unpack)
  end)
end)

describe("what clients write in more than one way", function()
  it("is read leniently: numbers as text, sizes as numbers, versions as numbers", function()
    local job = assert(parse({ resources_needed = { cpus = "4", gpus = "0", ram = 1048576, gpumem = "8gb" },
      pythonver = 3 }))
    assert.equal(4, job.needs.cores)
    assert.equal(1048576, job.needs.mem)
    assert.equal(8000000000, job.needs.gpu_mem)
    assert.equal("3", job.python_version)
  end)

  it("gives every variable of config.env as text, and skips null", function()
    local job = assert(parse(nil, { env = { A = "text", B = 7, C = true, D = json.null, E = 1.5 } }))
    assert.same({ A = "text", B = "7", C = "true", E = "1.5" }, job.environment)
  end)
end)

describe("a field that is wrong", function()
  local cases = {
    { "key", json.null, "experiment.key is null, should be a string" },
    { "key", "", 'experiment.key is "", should be a name of 1 to 200 bytes' },
    { "key", "a/b", 'experiment.key is "a/b", should be a name without' },
    { "key", "..", 'experiment.key is "..", should be a name without' },
    { "key", "a\nb", 'experiment.key is "a\\x0ab", should be a name without' },
    { "key", ("k"):rep(201), "should be a name of 1 to 200 bytes" },
    { "key", 7, "experiment.key is 7, should be a string" },
    { "filename", json.null, "experiment.filename is null, should be the name of a Python file" },
    { "filename", "/bin/sh", 'experiment.filename is "/bin/sh", should be a relative path' },
    { "filename", "a/../../b.py", "should be a relative path without '..'" },
    { "args", { "'open" },
      "experiment.args[1] is \"'open\", should be a shell-quoted word: a single quote is never closed" },
    { "args", { "fine", 7 }, "experiment.args[2] is 7, should be a string" },
    { "args", "text", 'experiment.args is "text", should be a list of strings' },
    { "pythonenv", { "numpy", false }, "experiment.pythonenv[2] is false, should be a string" },
    { "pythonver", "three", 'experiment.pythonver is "three", should be a version' },
    { "max_duration", "1d", 'experiment.max_duration is "1d", should be a duration' },
    { "max_duration", "-5m", 'experiment.max_duration is "-5m", should be a duration' },
    { "resources_needed", { cpus = -1 }, "experiment.resources_needed.cpus is -1, should be a whole number" },
    { "resources_needed", { cpus = 1.5 }, "experiment.resources_needed.cpus is 1.5, should be a whole number" },
    { "resources_needed", { ram = "lots" }, 'experiment.resources_needed.ram is "lots", should be a size' },
    { "resources_needed", 3, "experiment.resources_needed is 3, should be an object" },
    { "artifacts", { ["a/b"] = {} }, 'experiment.artifacts has the tag "a/b", should be a name without' },
    { "artifacts", { a = { key = "/etc/passwd" } },
      "experiment.artifacts.a.key is \"/etc/passwd\", should be a relative" },
    { "artifacts", { a = { key = "x/../../y" } }, "experiment.artifacts.a.key is \"x/../../y\", should be a relative" },
    { "artifacts", { a = { key = "k", mutable = "yes" } },
      'experiment.artifacts.a.mutable is "yes", should be true or' },
    { "artifacts", { a = { mutable = true } }, "experiment.artifacts.a is an object, should be an object with a key" },
  }
  for _, case in ipairs(cases) do
    it(("refuses the message: %s"):format(case[3]), function()
      assert.matches(case[3], refused({ [case[1]] = case[2] }), 1, true)
    end)
  end

  it("is named together with all others", function()
    local text = refused({ key = "a/b", filename = "/x" }, { env = { ["A B"] = "1" } })
    assert.matches("experiment.key is", text, 1, true)
    assert.matches("experiment.filename is", text, 1, true)
    assert.matches('config.env has the name "A B"', text, 1, true)
  end)

  it("never makes the sentence longer than a person reads", function()
    assert.is_true(#refused({ filename = "/" .. ("x"):rep(100000) }) < 300)
  end)
end)

describe("a text that is no message", function()
  local function nested(depth)
    return ("["):rep(depth) .. ("]"):rep(depth)
  end
  local cases = {
    ["is not JSON"] = { "experiment", "the message is not valid JSON" },
    ["is empty"] = { "", "the message is not valid JSON" },
    ["is a list"] = { "[1]", "the message is a list, should be an object" },
    ["has no experiment"] = { "{}", "experiment is missing, should be an object" },
    ["is nested too deep"] = { '{"experiment": ' .. nested(1000) .. "}", "not valid JSON" },
    ["has a key twice"] = { '{"experiment": {"key": "a", "key": "b"}}', "duplicate key" },
    ["holds NaN"] = { '{"experiment": {"key": NaN}}', "not valid JSON" },
    ["is not UTF-8"] = { '{"experiment": {"key": "\255"}}', "not valid JSON" },
    ["goes on after its end"] = { "{} {}", "not valid JSON" },
  }
  for title, case in pairs(cases) do
    it(title .. ": refused, and says so", function()
      assert.matches(case[2], refusal(case[1]), 1, true)
    end)
  end
end)

describe("a message with shell characters", function()
  it("gives them to the program as they are", function()
    local job = assert(parse({ key = "a;b $(c)", args = { "'$(rm -rf /)'", "';'", "'`id`'" } }))
    assert.equal("a;b $(c)", job.key)
    assert.same({ "$(rm -rf /)", ";", "`id`" }, job.arguments)
  end)

  it("can not make an option of the interpreter out of a file name", function()
    assert.equal("./-c", assert(parse({ filename = "-c" })).program)
    assert.equal("-m", assert(parse({ filename = "-m" })).program)
  end)
end)

describe("a message cut at any byte", function()
  it("is refused, never taken and never a crash", function()
    local text = with()
    for size = 0, #text - 1 do
      assert.is_nil((message.parse(text:sub(1, size), DEFAULTS)))
    end
  end)
end)
