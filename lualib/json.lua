-- JSON to and from Lua values, over lua-cjson with settings of our own.
--
-- What a round trip loses, and why text that must not change is edited as text (studioml/document.lua): `[]` becomes
-- `{}`, for an empty table says nothing of what it was; numbers keep 14 digits; members are written in any order. A
-- caller that needs `[]` writes those two bytes itself.

local cjson = require("cjson").new()
local errors = require("errors")

local m = {}

local DEFAULT_DEPTH = 100

cjson.decode_invalid_numbers(false) -- NaN and Infinity are no JSON
cjson.encode_invalid_numbers(false)
cjson.encode_number_precision(14)
cjson.encode_sparse_array(true, 2, 10) -- {[1000] = 1} becomes an object, not 999 nulls
cjson.decode_max_depth(1000)
cjson.encode_max_depth(1000)

---What `null` decodes to, and what encodes to it.
m.null = cjson.null

---@param text string anything: it is checked strictly (RFC 8259, no duplicate keys) first
---@param max_depth integer|nil 100 when absent
---@return any value
---@return table|nil err json.invalid with line and column
function m.decode(text, max_depth)
  local ok, err = host.json.check(text, max_depth or DEFAULT_DEPTH)
  if not ok then
    return nil, err
  end
  local decoded, value = pcall(cjson.decode, text)
  if not decoded then
    return nil, errors.new("json.invalid", value)
  end
  return value
end

---@param value any strings, numbers, booleans, json.null and tables of them
---@return string|nil text
---@return table|nil err json.invalid: a value that JSON has no form for
function m.encode(value)
  local ok, text = pcall(cjson.encode, value)
  if not ok then
    return nil, errors.new("json.invalid", text)
  end
  return text
end

return m
