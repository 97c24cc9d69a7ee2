-- host.json: JSON as text. The checker itself is tested in spec/c/test_base_json_text.c; here, its door.

local function spans(text)
  local members, first, last = host.json.members(text)
  assert.is_table(members, tostring(first))
  local found = {}
  for i, member in ipairs(members) do
    found[i] = {
      member.key, text:sub(member.start, member.stop), text:sub(member.value_start, member.value_stop),
    }
  end
  return found, first, last
end

describe("host.json.check", function()
  it("accepts strict JSON up to the given depth", function()
    assert.is_true(host.json.check('{"a": [1]}', 2))
    assert.is_true(host.json.check("1", 0))
  end)

  it("refuses anything else, and says where and why", function()
    local ok, err = host.json.check('{\n"a": 1, "a": 2}', 2)
    assert.is_nil(ok)
    assert.equal("json.invalid", err.code)
    assert.equal('line 2, column 9: duplicate key "a"', err.message)
    assert.is_false(err.retryable)
    assert.equal("json.invalid", select(2, host.json.check("[[1]]", 1)).code)
    assert.equal("json.invalid", select(2, host.json.check("[NaN]", 1)).code)
    assert.equal("json.invalid", select(2, host.json.check("[1]\0", 1)).code)
  end)

  it("raises for arguments that are no text and no depth", function()
    assert.has_error(function() host.json.check({}, 1) end)
    assert.has_error(function() host.json.check("1") end)
    assert.has_error(function() host.json.check("1", -1) end)
    assert.has_error(function() host.json.check("1", 1.5) end)
  end)
end)

describe("host.json.members", function()
  it("gives each member's key as it is meant and the spans as string.sub takes them", function()
    local text = ' {"a" : 1, "\\u0062\\n": {"c": [2]} ,"":"}"} '
    local found, first, last = spans(text)
    assert.same({ { "a", '"a"', "1" }, { "b\n", '"\\u0062\\n"', '{"c": [2]}' }, { "", '""', '"}"' } }, found)
    assert.equal("{", text:sub(first, first))
    assert.equal("}", text:sub(last, last))
  end)

  it("gives none for an empty object", function()
    local found, first, last = spans("{}")
    assert.same({}, found)
    assert.equal(1, first)
    assert.equal(2, last)
  end)

  it("keeps a NUL within a key", function()
    assert.equal("a\0b", spans('{"a\\u0000b": 1}')[1][1])
  end)

  it("refuses a text that is invalid, or that is no object", function()
    for _, text in ipairs({ "", "{", '{"a":1,"a":2}', "[]", "1", '{"a":}' }) do
      local members, err = host.json.members(text)
      assert.is_nil(members)
      assert.equal("json.invalid", err.code)
    end
  end)
end)

describe("host.digest.sha256", function()
  it("is that of the standard, in lower-case hexadecimal digits", function()
    -- FIPS 180-2, appendix B.1
    assert.equal("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", host.digest.sha256("abc"))
    assert.are_not.equal(host.digest.sha256("a"), host.digest.sha256("a\0"))
    assert.has_error(function() host.digest.sha256(nil) end)
  end)
end)
