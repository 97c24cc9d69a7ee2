-- Chooses the store that a message's configuration names.
local errors = require "errors"
local folder_store = require "store.folder"

local stores = {}

-- Names that the client uses when its configuration gives none.
local DEFAULT_BUCKETS = { database = "studioml-meta", storage = "storage" }

local function local_root(place, kind)
  local endpoint = place.endpoint or "~"
  if endpoint:sub(1, 1) == "~" then
    local home = host.environment.get("HOME")
    if not home then
      return nil, errors.new("store.denied", ("config.%s.endpoint is %s and HOME is not set"):format(kind, endpoint))
    end
    endpoint = home .. endpoint:sub(2)
  end
  if endpoint:sub(1, 1) ~= "/" then
    return nil, errors.new("store.unsupported",
      ("config.%s.endpoint is %q, should be an absolute path"):format(kind, endpoint))
  end
  return endpoint .. "/" .. (place.bucket or DEFAULT_BUCKETS[kind])
end

local function check_local(place, kind)
  if place.type ~= "local" then
    return nil, errors.new("store.unsupported",
      ("config.%s.type is %q: this runner knows only the type \"local\""):format(kind, place.type))
  end
  return local_root(place, kind)
end

--- The store of one job.
---@param job table a validated message
---@return table|nil store the interface `store` of lualib/README.md
---@return table|nil err store.unsupported, store.denied, file.*
function stores.open(job)
  local artifacts, err = check_local(job.storage, "storage")
  if not artifacts then
    return nil, err
  end
  local database
  database, err = check_local(job.database, "database")
  if not database then
    return nil, err
  end
  return folder_store.open({ database = { root = database }, artifacts = { root = artifacts } })
end

return stores
