-- json.lua: JSON to and from Lua values.

local json = require("json")

describe("decode", function()
  it("reads values, null included", function()
    local value = json.decode('{"a": [1, 2.5, null, true], "b": "\\u00e4"}')
    assert.same({ a = { 1, 2.5, json.null, true }, b = "ä" }, value)
  end)

  it("refuses what lua-cjson alone would take", function()
    for _, text in ipairs({ "NaN", "[Infinity]", '{"a": 1, "a": 2}', '"\255"', "[01]", "{} x", "", "[1e999]" }) do
      local value, err = json.decode(text)
      assert.is_nil(value, text)
      assert.equal("json.invalid", err.code, text)
      assert.matches("line 1, column %d+", err.message)
    end
  end)

  it("refuses nesting deeper than it was told", function()
    assert.is_not_nil(json.decode("[[[]]]", 3))
    local _, err = json.decode("[[[[]]]]", 3)
    assert.equal("json.invalid", err.code)
    _, err = json.decode(("["):rep(100000))
    assert.equal("json.invalid", err.code)
  end)
end)

describe("encode", function()
  it("writes what decode reads", function()
    local value = { list = { 1, 2, "three", json.null }, text = 'q"\\\n', yes = true, number = 1795527139153 }
    assert.same(value, json.decode(json.encode(value)))
  end)

  it("writes an array with far holes as an object", function()
    assert.equal('{"1000":1}', json.encode({ [1000] = 1 }))
  end)

  it("writes an empty table as an object: it cannot know better", function()
    assert.equal("{}", json.encode({}))
    assert.equal("{}", json.encode(json.decode("[]")))
  end)

  it("says what it has no form for", function()
    for _, value in ipairs({ print, 0 / 0, math.huge, { [true] = 1 }, coroutine.create(print) }) do
      local text, err = json.encode(value)
      assert.is_nil(text)
      assert.equal("json.invalid", err.code)
    end
    local circle = {}
    circle.again = circle
    local _, err = json.encode(circle)
    assert.equal("json.invalid", err.code)
  end)
end)
