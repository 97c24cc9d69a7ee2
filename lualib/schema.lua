-- Reads fields out of decoded JSON and collects what is wrong, as sentences that name the field, what it was and what
-- it should be: `experiment.args[2] is 7, should be a string`.
local json = require "json"

local schema = {}

local Reader = {}
Reader.__index = Reader

local TEXT_SHOWN = 60

--- A value as a person would write it in a sentence; long texts are cut, control characters escaped.
---@param value any decoded JSON
---@return string
function schema.describe(value)
  if value == nil then
    return "missing"
  elseif value == json.null then
    return "null"
  elseif type(value) == "string" then
    local shown = #value > TEXT_SHOWN and value:sub(1, TEXT_SHOWN) .. "…" or value
    return '"' .. shown:gsub("[%z\1-\31\127\"\\]", function(c) return ("\\x%02x"):format(c:byte()) end) .. '"'
  elseif type(value) == "number" and value == math.floor(value) and math.abs(value) < 2 ^ 53 then
    return ("%d"):format(value)
  elseif type(value) == "table" then
    return value[1] ~= nil and "a list" or "an object"
  end
  return tostring(value)
end

--- A reader over one object. Readers made from it by `object` share its list of problems.
---@param value table the decoded object
---@param path string its name in sentences, "" for the outermost
function schema.reader(value, path)
  return setmetatable({ value = value, path = path, problems = {} }, Reader)
end

--- The reader's problems as one sentence, or nil when there are none.
---@return string|nil
function Reader:problem()
  return self.problems[1] and table.concat(self.problems, "; ")
end

local function path_of(self, name)
  return self.path == "" and name or self.path .. "." .. name
end

--- Notes that field `name` is not as it should be.
---@return nil
function Reader:refuse(name, should_be)
  local value = self.value[name]
  self.problems[#self.problems + 1] =
    ("%s is %s, should be %s"):format(path_of(self, name), schema.describe(value), should_be)
  return nil
end

local function is_absent(value)
  return value == nil or value == json.null
end

--- The field if it is absent: `default`. If it is there, what `convert(value)` gives; nil from it is a problem.
---@param name string
---@param options {required: boolean?, default: any, should_be: string}
---@param convert fun(value: any): any
function Reader:field(name, options, convert)
  local value = self.value[name]
  if is_absent(value) then
    if options.required then
      return self:refuse(name, options.should_be)
    end
    return options.default
  end
  local converted, should_be = convert(value)
  if converted == nil then
    return self:refuse(name, should_be or options.should_be)
  end
  return converted
end

--- A string without NUL; `options.check(text)` may return a sentence that says what it should be.
function Reader:text(name, options)
  options = options or {}
  options.should_be = options.should_be or "a string"
  return self:field(name, options, function(value)
    if type(value) ~= "string" then
      return nil
    elseif value:find("%z") then
      return nil, "a string without a NUL byte"
    end
    local should_be = options.check and options.check(value)
    if should_be then
      return nil, should_be
    end
    return value
  end)
end

--- An integer of at least 0, as a number or as its decimal digits (the client sends both).
function Reader:count(name, options)
  options.should_be = "a whole number of at least 0"
  return self:field(name, options, function(value)
    if type(value) == "string" and value:find("^%d+$") then
      value = tonumber(value)
    end
    if type(value) ~= "number" or value < 0 or value > 2 ^ 31 or value ~= math.floor(value) then
      return nil
    end
    return value
  end)
end

function Reader:number(name, options)
  options.should_be = options.should_be or "a number"
  return self:field(name, options, function(value) return type(value) == "number" and value or nil end)
end

--- true or false; anything else but null is a problem.
function Reader:boolean(name, options)
  options.should_be = "true or false"
  return self:field(name, options, function(value)
    if type(value) ~= "boolean" then
      return nil
    end
    return value
  end)
end

--- What `parse(value)` (value or nil, err) makes of a string or number, e.g. bytes or a duration.
function Reader:parsed(name, options, parse)
  return self:field(name, options, function(value)
    if type(value) ~= "string" and type(value) ~= "number" then
      return nil
    end
    return (parse(value))
  end)
end

--- A reader over the object in field `name`; an absent one reads as empty unless `options.required`.
function Reader:object(name, options)
  local value = self:field(name, { required = options and options.required, default = {}, should_be = "an object" },
    function(found)
      return type(found) == "table" and found[1] == nil and found or nil
    end)
  return setmetatable({ value = value or {}, path = path_of(self, name), problems = self.problems }, Reader)
end

--- The list of strings in field `name`; absent reads as empty.
---@return string[]
function Reader:texts(name)
  local list = self:field(name, { default = {}, should_be = "a list of strings" }, function(value)
    return type(value) == "table" and (next(value) == nil or value[1] ~= nil) and value or nil
  end) or {}
  local items = setmetatable({ value = list, path = path_of(self, name), problems = self.problems }, Reader)
  local texts = {}
  for index = 1, #list do
    local item = list[index]
    if type(item) ~= "string" or item:find("%z") then
      items.problems[#items.problems + 1] =
        ("%s[%d] is %s, should be a string without a NUL byte"):format(items.path, index, schema.describe(item))
    else
      texts[#texts + 1] = item
    end
  end
  return texts
end

--- The names of the object, sorted.
---@return string[]
function Reader:names()
  local names = {}
  for name in pairs(self.value) do
    names[#names + 1] = tostring(name)
  end
  table.sort(names)
  return names
end

return schema
