-- The experiment's document is edited as text: what is not ours stays, byte for byte.
--
-- Decoding and encoding it again would change `[]`, long numbers and the order of members, and the client reads it
-- back. Pure.
local errors = require "errors"
local json = require "json"

local m = {}

local MAX_DEPTH = 1000

local function check_changes(changes)
  for name, value in pairs(changes) do
    local ok, err = host.json.check(value, MAX_DEPTH)
    if not ok and err.retryable then
      return nil, err -- no memory
    elseif not ok then
      error(("document.set: the value of %s is no JSON text: %s"):format(name, err.message), 3)
    end
  end
  return true
end

-- The members that the document does not have yet, as text, in the order of their names.
local function new_members(changes, present)
  local names = {}
  for name in pairs(changes) do
    if not present[name] then
      names[#names + 1] = name
    end
  end
  table.sort(names)
  local members = {}
  for i, name in ipairs(names) do
    members[i] = json.encode(name) .. ": " .. changes[name]
  end
  return members
end

--- Replaces top-level members where they stand, and appends those that are not there.
---@param text string the document
---@param changes table<string, string> name -> JSON text
---@return string|nil text
---@return table|nil err json.invalid; a change that is no JSON text raises
function m.set(text, changes)
  local fine, err = check_changes(changes)
  if not fine then
    return nil, err
  end
  local members, object_start = host.json.members(text)
  if not members then
    return nil, errors.wrap(object_start, "the document")
  end
  local pieces, present, at = {}, {}, 1
  for _, member in ipairs(members) do
    present[member.key] = true
    if changes[member.key] then
      pieces[#pieces + 1] = text:sub(at, member.value_start - 1) .. changes[member.key]
      at = member.value_stop + 1
    end
  end
  local added = new_members(changes, present)
  if #added > 0 then
    local last = members[#members]
    local stop = last and last.value_stop or object_start
    pieces[#pieces + 1] = text:sub(at, stop) .. (last and ", " or "") .. table.concat(added, ", ")
    at = stop + 1
  end
  pieces[#pieces + 1] = text:sub(at)
  return table.concat(pieces)
end

--- Decodes a document, for reading only.
---@param text string
---@return table|nil decoded
---@return table|nil err json.invalid
function m.get(text)
  local members, err = host.json.members(text)
  if not members then
    return nil, errors.wrap(err, "the document")
  end
  return json.decode(text, MAX_DEPTH)
end

return m
