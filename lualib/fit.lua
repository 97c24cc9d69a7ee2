--- What fits where: arithmetic on free resources, for the decision core and for policies. Pure: nothing is kept.
--
-- free, total: `{cores, mem, disk, gpus = {{uuid, mem, free_mem, healthy, numa}…}}`
-- needs:       `{cores, mem, disk, gpus = count, gpu_mem = bytes a card; 0 or false: the whole card}`
-- placement:   `{cores, mem, disk, gpus = {uuid…}, gpu_mem = bytes a card; 0: the whole cards}`

local m = {}

-- The largest integer that every number here can hold exactly.
local LARGEST = 2 ^ 53

--- Is it a whole number from 0 to 2^53? (NaN and infinities are not.)
---@param value any
---@return boolean
function m.is_count(value)
  return type(value) == "number" and value >= 0 and value <= LARGEST and value % 1 == 0
end

--- Does it tell cores, mem and disk as whole numbers?
---@param value any
---@return boolean
function m.is_total(value)
  return type(value) == "table" and m.is_count(value.cores) and m.is_count(value.mem) and m.is_count(value.disk)
end

--- A copy that may be changed, of something free or total. A card without `free_mem` is wholly free.
---@param free table
---@return table
function m.copy(free)
  local copy = { cores = free.cores, mem = free.mem, disk = free.disk, gpus = {} }
  for i, card in ipairs(free.gpus or {}) do
    copy.gpus[i] = {
      uuid = card.uuid,
      mem = card.mem,
      free_mem = card.free_mem or card.mem,
      healthy = card.healthy ~= false,
      numa = card.numa or false,
    }
  end
  return copy
end

--- A copy of a job's needs in which whatever is not said or not known is 0.
---@param needs table|nil
---@return table
function m.needs(needs)
  needs = needs or {}
  return {
    cores = needs.cores or 0,
    mem = needs.mem or 0,
    disk = needs.disk or 0,
    gpus = needs.gpus or 0,
    gpu_mem = needs.gpu_mem or 0,
  }
end

--- A copy of a placement.
---@param placement table
---@return table
function m.placement(placement)
  local gpus = {}
  for i, uuid in ipairs(placement.gpus) do
    gpus[i] = uuid
  end
  return {
    cores = placement.cores,
    mem = placement.mem,
    disk = placement.disk,
    gpus = gpus,
    gpu_mem = placement.gpu_mem,
  }
end

-- What can be had of a card for a job that wants `gpu_mem` of it (0: all of it).
local function card_fits(card, gpu_mem)
  if card.healthy == false then
    return false
  end
  local free_mem = card.free_mem or card.mem
  if gpu_mem == 0 then
    return free_mem == card.mem
  end
  return gpu_mem <= free_mem
end

--- The first thing that is missing, or nil when all is there.
---@param needs table
---@param free table
---@return table|nil lack `{rule = "cores" | "memory" | "disk" | "gpus" | "gpu_memory", need = n, have = n}`
function m.lacks(needs, free)
  if (needs.cores or 0) > free.cores then
    return { rule = "cores", need = needs.cores, have = free.cores }
  end
  if (needs.mem or 0) > free.mem then
    return { rule = "memory", need = needs.mem, have = free.mem }
  end
  if (needs.disk or 0) > free.disk then
    return { rule = "disk", need = needs.disk, have = free.disk }
  end
  local wanted = needs.gpus or 0
  if wanted == 0 then
    return nil
  end
  local gpu_mem = needs.gpu_mem or 0
  local whole, fitting, largest = 0, 0, 0
  for _, card in ipairs(free.gpus or {}) do
    if card.healthy ~= false then
      whole = whole + 1
      largest = math.max(largest, card.free_mem or card.mem)
    end
    if card_fits(card, gpu_mem) then
      fitting = fitting + 1
    end
  end
  if fitting >= wanted then
    return nil
  end
  if gpu_mem > 0 and whole >= wanted then
    return { rule = "gpu_memory", need = gpu_mem, have = largest }
  end
  return { rule = "gpus", need = wanted, have = fitting }
end

--- The plain placement: what was asked for, on the cards that are fullest already and still have room.
---@param needs table
---@param free table
---@return table|nil placement
---@return table|nil lack as from lacks()
function m.place(needs, free)
  local lack = m.lacks(needs, free)
  if lack then
    return nil, lack
  end
  local gpu_mem = needs.gpu_mem or 0
  local cards = {}
  for i, card in ipairs(free.gpus or {}) do
    if card_fits(card, gpu_mem) then
      cards[#cards + 1] = { uuid = card.uuid, free_mem = card.free_mem or card.mem, order = i }
    end
  end
  table.sort(cards, function(a, b)
    if a.free_mem ~= b.free_mem then
      return a.free_mem < b.free_mem
    end
    return a.order < b.order
  end)
  local gpus = {}
  for i = 1, needs.gpus or 0 do
    gpus[i] = cards[i].uuid
  end
  return {
    cores = needs.cores or 0,
    mem = needs.mem or 0,
    disk = needs.disk or 0,
    gpus = gpus,
    gpu_mem = #gpus > 0 and gpu_mem or 0,
  }
end

local function find_card(free, uuid)
  for _, card in ipairs(free.gpus or {}) do
    if card.uuid == uuid then
      return card
    end
  end
  return nil
end

-- For messages; without the address of a table, which would differ from run to run.
local function show(value)
  return (type(value) == "table" or type(value) == "function") and "a " .. type(value) or tostring(value)
end

--- May this placement be taken from what is free? Trusts nothing about its shape.
---@param free table
---@param placement any
---@return boolean|nil ok
---@return string|nil problem a clause: "cores: 3 of 2 free"
function m.check(free, placement)
  if type(placement) ~= "table" then
    return nil, "a placement is a table, not a " .. type(placement)
  end
  for _, name in ipairs({ "cores", "mem", "disk", "gpu_mem" }) do
    if not m.is_count(placement[name]) then
      return nil, name .. " is not a whole number from 0 on: " .. show(placement[name])
    end
  end
  for _, name in ipairs({ "cores", "mem", "disk" }) do
    if placement[name] > free[name] then
      return nil, string.format("%s: %.0f of %.0f free", name, placement[name], free[name])
    end
  end
  if type(placement.gpus) ~= "table" then
    return nil, "gpus is a list of uuids"
  end
  local seen = {}
  for _, uuid in ipairs(placement.gpus) do
    local card = type(uuid) == "string" and find_card(free, uuid)
    if not card then
      return nil, "no such GPU: " .. show(uuid)
    end
    if seen[uuid] then
      return nil, "a GPU is named twice: " .. uuid
    end
    if not card_fits(card, placement.gpu_mem) then
      return nil, "not free: GPU " .. uuid
    end
    seen[uuid] = true
  end
  return true
end

--- Takes a placement out of `free`, in place. Never below nothing.
---@param free table
---@param placement table
---@return table free
function m.take(free, placement)
  free.cores = math.max(0, free.cores - (placement.cores or 0))
  free.mem = math.max(0, free.mem - (placement.mem or 0))
  free.disk = math.max(0, free.disk - (placement.disk or 0))
  for _, uuid in ipairs(placement.gpus or {}) do
    local card = find_card(free, uuid)
    if card then
      local gpu_mem = placement.gpu_mem or 0
      card.free_mem = gpu_mem == 0 and 0 or math.max(0, (card.free_mem or card.mem) - gpu_mem)
    end
  end
  return free
end

--- How many such jobs could start now, counted up to `limit`.
---@param needs table
---@param free table
---@param limit integer
---@return integer
function m.count(needs, free, limit)
  local left = m.copy(free)
  for n = 0, limit - 1 do
    local placement = m.place(needs, left)
    if not placement then
      return n
    end
    m.take(left, placement)
  end
  return limit
end

return m
