-- The worlds in which queue_conformance.lua tests the queues (see there).
local folder = require "queue.folder"
local json = require "json"
local spec_folder = require "spec_folder"

local m = {}

local World = {}
World.__index = World

--- A world of folder queues, below world.root.
function m.folder()
  local place = spec_folder.make()
  place:make_path("queue")
  return setmetatable({ place = place, sent = 0, start = host.time.wall() - 1000000 }, World)
end

--- Writes a message as the client does; each is a second younger than the one before. `as`: its file's name.
function World:send(queue, text, as)
  local name = as or host.random.uuid()
  local path = "queue/" .. queue .. "/" .. name
  self.place:write(path, text)
  self.sent = self.sent + 1
  assert(host.file.root:touch(self.place:at(path), self.start + self.sent * 1000))
  return name
end

function World:delete(queue)
  assert(host.file.root:remove_tree(self.place:at("queue/" .. queue)))
end

function World:host(options)
  options = options or {}
  local backend, err = folder.open({
    root = self.place:at("queue"),
    run = options.run or host.random.hex(8),
    max_message_size = options.max_message_size or 1024 * 1024,
    stale_lock_ms = options.stale_lock_ms,
  })
  return assert(backend, tostring(err))
end

--- A dead process leaves everything but its locks and descriptors.
function World:kill(backend) -- luacheck: no self
  for queue in pairs(backend.queues) do
    queue.dir:close()
    queue.claims:close()
  end
  for _, name in ipairs({ "claims", "dir", "all", "ours" }) do
    backend.runs[name]:close()
  end
  backend.watch:close()
  backend.root:close()
  backend.runs.lock:release()
end

function World:aside(queue)
  local found = {}
  for _, file in ipairs(self.place:files("queue/.moonrunner/set-aside/" .. queue)) do
    local path = "queue/.moonrunner/set-aside/" .. queue .. "/" .. file
    if not file:find("%.reason$") then
      found[#found + 1] = {
        body = self.place:read(path),
        reason = json.decode(self.place:read(path .. ".reason")).reason,
      }
    end
  end
  return found
end

function World:close()
  self.place:remove()
end

return m
