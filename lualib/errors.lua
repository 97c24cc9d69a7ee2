-- Errors as values: nil, err, where err is {code, message, retryable, cause}. Callers branch on err.code, which is
-- one of the closed list in host/base/error_codes.h; err.message is one sentence that names what it was about.

local m = {}

-- Without a host (the decision core, plain busted) there is no list to check against.
local known = rawget(_G, "host") and host.errors or { codes = nil, metatable = nil }

local metatable = known.metatable
  or {
    __tostring = function(err)
      return ("%s: %s"):format(err.code, err.message)
    end,
  }

---@class err
---@field code string
---@field message string
---@field retryable boolean the same call may succeed later without anybody changing anything
---@field cause err|nil

---@param code string raises when the list does not have it
---@param message string
---@param fields table|nil more fields: retryable (the list's when absent), cause, …
---@return err
function m.new(code, message, fields)
  local retryable = false
  if known.codes then
    retryable = known.codes[code]
    if retryable == nil then
      error(("host/base/error_codes.h has no code %s"):format(tostring(code)), 2)
    end
  end
  local err = { code = code, message = message, retryable = retryable }
  for name, value in pairs(fields or {}) do
    err[name] = value
  end
  return setmetatable(err, metatable)
end

---The same failure, seen from further out: "TEXT: message". All other fields stay; `cause` is the error within.
---@param err err
---@param text string
---@return err
function m.wrap(err, text)
  local outer = {}
  for name, value in pairs(err) do
    outer[name] = value
  end
  outer.message = ("%s: %s"):format(text, err.message)
  outer.cause = err
  return setmetatable(outer, metatable)
end

---@param err any
---@param code string
---@return boolean
function m.is(err, code)
  return type(err) == "table" and err.code == code
end

return m
