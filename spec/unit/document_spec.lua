-- Documents as text: our members are set, and no other byte changes.
local document = require "studioml.document"
local json = require "json"

local RUNS = os.getenv("MOONRUNNER_SOAK") and 20000 or 400

local VALUES = {
  "1795527139.1530757", "[]", "{}", "null", "true", "-0.0", '"a\\u00fcb"', '""', '"}],{\\"status\\": 1"', "0",
  "12345678901234567890", '[1, [2, {"status": "inner"}], "]"]', '"\\\\"',
}
local NAMES = {
  "key", "args", "", "a.b", "ü", 'quo\\"te', "\\u0061lpha", "time_added", "nested", "x y", "status", "moonrunner",
}
local SPACES = { "", "", " ", "\n", "\t", "\r\n  " }

local function space()
  return SPACES[math.random(#SPACES)]
end

local function random_document()
  local names, pieces = { unpack(NAMES) }, {}
  for i = 1, math.random(0, 8) do
    local name, value = table.remove(names, math.random(#names)), VALUES[math.random(#VALUES)]
    pieces[i] = ('%s"%s"%s:%s%s%s'):format(space(), name, space(), space(), value, space())
  end
  return space() .. "{" .. (#pieces > 0 and table.concat(pieces, ",") or space()) .. "}" .. space()
end

-- The text with the value of each named member taken out, to see what is left.
local function without(text, changes)
  local members = assert(host.json.members(text))
  for i = #members, 1, -1 do
    if changes[members[i].key] then
      text = text:sub(1, members[i].value_start - 1) .. "@" .. text:sub(members[i].value_stop + 1)
    end
  end
  return text
end

describe("a document", function()
  it("keeps every byte that is not ours, whatever it looks like", function()
    math.randomseed(42)
    for _ = 1, RUNS do
      local text = random_document()
      local changes = { status = '"running"', moonrunner = '{"attempt": 2}' }
      local edited = assert(document.set(text, changes))
      local found = {}
      for _, member in ipairs(assert(host.json.members(edited))) do
        found[member.key] = edited:sub(member.value_start, member.value_stop)
      end
      assert.equal(changes.status, found.status)
      assert.equal(changes.moonrunner, found.moonrunner)
      -- Taking out what was set leaves the old text, with what was appended after its last member.
      local before, after = without(text, changes), without(edited, changes)
      local appended = after:sub(#before + 1)
      local common = 0
      while common < #before and before:byte(common + 1) == after:byte(common + 1) do
        common = common + 1
      end
      local inserted = #after - #before
      assert.equal(before, after:sub(1, common) .. after:sub(common + inserted + 1), appended)
      -- Set again it does not grow.
      assert.equal(edited, document.set(edited, changes))
    end
  end)

  it("of the client keeps its floats and empty lists", function()
    local text = '{"key": "k", "args": [], "time_added": 1795527139.1530757, "status": "waiting", "info": {}}'
    assert.equal('{"key": "k", "args": [], "time_added": 1795527139.1530757, "status": "running", "info": {}, '
      .. '"moonrunner": {"attempt": 1}}', document.set(text, { status = '"running"', moonrunner = '{"attempt": 1}' }))
  end)

  it("gets its first member into any empty object", function()
    assert.equal('{"a": 1}', document.set("{}", { a = "1" }))
    assert.equal('{"a": 1 \n }', document.set("{ \n }", { a = "1" }))
    assert.equal(' {"a": 1, "b": 2}\n', document.set(" {}\n", { b = "2", a = "1" }))
  end)

  it("gets names as JSON writes them, and finds them however they are written", function()
    local name = 'quo"te\\\n'
    local edited = assert(document.set("{}", { [name] = "1" }))
    assert.equal(1, document.get(edited)[name])
    assert.equal('{"\\u0073tatus": 2}', document.set('{"\\u0073tatus": 1}', { status = "2" }))
  end)

  it("that is broken, or is no object, is an error", function()
    for _, text in ipairs({ "", "{", '{"a": 1', "[]", "1", '{"a": 1, "a": 2}', '{"a": NaN}', "{} x" }) do
      for _, f in ipairs({ document.get, document.set }) do
        local result, err = f(text, {})
        assert.is_nil(result, text)
        assert.equal("json.invalid", err.code)
      end
    end
  end)

  it("does not take a value that is no JSON", function()
    assert.has_error(function() document.set("{}", { a = "running" }) end)
    assert.has_error(function() document.set("{}", { a = "1, 2" }) end)
  end)

  it("is decoded for reading", function()
    local decoded = assert(document.get('{"status": "stopped", "n": null}'))
    assert.equal("stopped", decoded.status)
    assert.equal(json.null, decoded.n)
  end)
end)
