--- Sorted lists of records, for the decision core. Every order here is total, so that it is the same everywhere.

local m = {}

--- The order in which waiting jobs are offered: rank, then age, then id.
function m.by_rank(a, b)
  if a.rank ~= b.rank then
    return a.rank < b.rank
  elseif a.added ~= b.added then
    return a.added < b.added
  end
  return a.id < b.id
end

function m.by_id(a, b)
  return a.id < b.id
end

function m.by_name(a, b)
  return a.name < b.name
end

--- Puts an item into a sorted list; looked for from the end, where most belong.
---@param list table[]
---@param item table
---@param before fun(a: table, b: table): boolean
function m.insert(list, item, before)
  local at = #list + 1
  while at > 1 and before(item, list[at - 1]) do
    at = at - 1
  end
  table.insert(list, at, item)
end

---@param list table[]
---@param item table
function m.remove(list, item)
  for i, other in ipairs(list) do
    if other == item then
      table.remove(list, i)
      return
    end
  end
end

--- A copy of plain data that shares nothing with it.
---@param value any
---@return any
function m.deep_copy(value)
  if type(value) ~= "table" then
    return value
  end
  local copy = {}
  for key, item in pairs(value) do
    copy[key] = m.deep_copy(item)
  end
  return copy
end

return m
