-- A folder of its own for a spec, and short ways to look into it.
local m = {}

local Folder = {}
Folder.__index = Folder

--- Makes an empty folder. Call remove() when done.
function m.make()
  local path = (os.getenv("TMPDIR") or "/tmp") .. "/moonrunner-spec-" .. host.random.hex(12)
  assert(host.file.root:mkdir(path, "0700"))
  return setmetatable({ path = path }, Folder)
end

function Folder:remove()
  assert(host.file.root:remove_tree(self.path))
end

--- The path of a name in it; without one, its own.
function Folder:at(name)
  return name and self.path .. "/" .. name or self.path
end

function Folder:make_path(name)
  assert(host.file.root:make_path(self:at(name), "0755"))
  return self:at(name)
end

function Folder:write(name, text)
  local parent = name:match("^(.*)/[^/]*$")
  if parent then
    self:make_path(parent)
  end
  assert(host.file.root:replace(self:at(name), text, "0644"))
end

--- The text of a file, or nil.
function Folder:read(name)
  return (host.file.root:read(self:at(name), 16 * 1024 * 1024))
end

function Folder:stat(name)
  return (host.file.root:stat(self:at(name)))
end

--- Every file and link below `name` as sorted relative paths; folders are not named.
function Folder:files(name)
  local found = {}
  local function walk(path, prefix)
    local dir = host.file.root:open(path)
    for _, entry in ipairs(dir and dir:list() or {}) do
      if entry.kind == "directory" then
        walk(path .. "/" .. entry.name, prefix .. entry.name .. "/")
      else
        found[#found + 1] = prefix .. entry.name
      end
    end
    if dir then
      dir:close()
    end
  end
  walk(self:at(name), "")
  return found
end

return m
