-- The worlds in which store_conformance.lua tests the stores (see there).
local folder = require "store.folder"
local spec_folder = require "spec_folder"

local m = {}

local World = {}
World.__index = World

--- A world of folder stores, below world.place: `meta` holds the documents, `files` the artifacts.
function m.folder()
  return setmetatable({ place = spec_folder.make(), scratch = spec_folder.make() }, World)
end

function World:store()
  local store, err = folder.open({
    database = { root = self.place:at("meta") },
    artifacts = { root = self.place:at("files") },
  })
  return assert(store, tostring(err))
end

--- In place, as the client does.
function World:write_document(key, text)
  self.place:make_path(("meta/" .. key):match("^(.*)/"))
  local file = assert(io.open(self.place:at("meta/" .. key), "w"))
  file:write(text)
  file:close()
end

function World:delete_document(key)
  assert(host.file.root:unlink(self.place:at("meta/" .. key)))
end

function World:put(key, bytes)
  self.place:write("files/" .. key, bytes)
end

function World:close()
  self.place:remove()
  self.scratch:remove()
end

return m
