-- The folder store: documents and artifacts as the StudioML client keeps them with the storage type `local`.
--
-- A document is `<database root>/experiments/<key>`. The client rewrites it in place and without a lock; we read it
-- again until it is whole, compare before we write, and write beside and rename. The file that was replaced keeps a
-- name of ours until the next read: a status that the client wrote into it meanwhile (a stop) counts.
-- An artifact is `<artifacts root>/<key>`. Nothing outside of the roots is ever read or written, and no link below them
-- is followed.
local document = require "studioml.document"
local errors = require "errors"

local m = {}

local OURS = ".moonrunner"
local MAX_DOCUMENT = 16 * 1024 * 1024
local READ_TRIES, READ_WAIT_MS = 12, 100 -- for a document that is being written
local LOCK_WAIT_MS = 10
local KEPT_NAME, KEPT_PATTERN = "replaced-%.0f-%s", "^replaced%-(%d+)%-" -- when, and a random part
local KEPT_MS = 60 * 60 * 1000 -- a kept file that is older was left by a host that died
local FOLDER, FILE = "0777", "0666" -- less the umask, as the client

local Store = {}
Store.__index = Store

-- ---- Keys -------------------------------------------------------------------------------------------------------

local function split_key(key)
  local parts = {}
  for part in key:gmatch("[^/]+") do
    if part == "." or part == ".." then
      return nil
    end
    parts[#parts + 1] = part
  end
  if #parts == 0 or key:sub(1, 1) == "/" or key:find("%z") or parts[1] == OURS then
    return nil
  end
  return parts
end

local function open_made(dir, name)
  local ok, err = dir:mkdir(name, FOLDER)
  if not ok and err.code ~= "file.exists" then
    return nil, err
  end
  return dir:open(name)
end

local TRANSLATED = {
  ["file.not_found"] = "store.not_found",
  ["file.gone"] = "store.not_found",
  ["file.denied"] = "store.denied",
  ["file.not_directory"] = "store.denied",
  ["file.not_regular"] = "store.denied",
}

local function translate(err, what)
  return errors.new(TRANSLATED[err.code] or err.code, what .. ": " .. err.message, { cause = err })
end

-- Opens the folder that holds `key`, step by step, because a link on the way must not lead outside. The handle is the
-- caller's. Returns it and the last part of the key.
local function open_parent(root, key, make)
  local parts = split_key(key)
  if not parts then
    return nil, errors.new("store.denied", ("the key %q is not a relative path below the store"):format(key))
  end
  local dir, err = root:open(".")
  for i = 1, #parts - 1 do
    if not dir then
      break
    end
    local parent = dir
    dir, err = (make and open_made or parent.open)(parent, parts[i])
    parent:close()
  end
  if not dir then
    return nil, translate(err, key)
  end
  return dir, parts[#parts]
end

-- ---- Documents --------------------------------------------------------------------------------------------------

local function read_whole(dir, name, key)
  local err
  for attempt = 1, READ_TRIES do
    local text
    text, err = dir:read(name, MAX_DOCUMENT)
    if not text then
      return nil, translate(err, key)
    end
    local members
    members, err = host.json.members(text)
    if members then
      return text
    end
    if attempt < READ_TRIES then
      local slept, why = host.time.sleep(READ_WAIT_MS)
      if not slept then
        return nil, why
      end
    end
  end
  return nil, errors.wrap(err, "the document " .. key)
end

-- The status in a document, as JSON text.
local function status_of(text)
  for _, member in ipairs(host.json.members(text) or {}) do
    if member.key == "status" then
      return text:sub(member.value_start, member.value_stop)
    end
  end
end

-- Looks into the file that we replaced last. A status that was written into it since waits in `late` until it has been
-- read and stored.
local function look_into_replaced(self, key)
  local kept = self.kept[key]
  if not kept then
    return
  end
  local text, err = self.ours:read(kept.name, MAX_DOCUMENT)
  if not text and err.code ~= "file.not_found" then
    return -- the next look may succeed
  elseif text and text ~= kept.text then
    local status = status_of(text)
    if not status then
      return -- being written right now: the next look will see it
    elseif status ~= status_of(kept.text) then
      self.late[key] = status
    end
  end
  self.ours:unlink(kept.name)
  self.kept[key] = nil
end

--- Reads a document. Waits while it is half written. A status that the client wrote into a file which we had replaced
--- is in the text.
---@param key string `experiments/<key>`
---@return string|nil text
---@return string|table version opaque; or the error: store.not_found, json.invalid
function Store:read_document(key)
  local dir, name = open_parent(self.database, key)
  if not dir then
    return nil, name
  end
  local text, err = read_whole(dir, name, key)
  dir:close()
  if not text then
    return nil, err
  end
  local version = host.digest.sha256(text)
  look_into_replaced(self, key)
  if self.late[key] then
    text = document.set(text, { status = self.late[key] })
  end
  return text, version
end

-- Hosts write one after the other. Between this and release nothing waits, so tasks of one host never meet here.
local function lock_writers(self)
  while true do
    local held, err = self.ours:lock("lock")
    if held or err.code ~= "file.locked" then
      return held, err
    end
    local slept
    slept, err = host.time.sleep(LOCK_WAIT_MS)
    if not slept then
      return nil, err
    end
  end
end

local function create_document(self, dir, name, text)
  local temporary = "new-" .. host.random.hex(16)
  local ok, err = self.ours:create(temporary, text, FILE)
  if not ok then
    return nil, err
  end
  ok, err = self.ours:rename_exclusive(temporary, dir, name)
  if not ok then
    self.ours:unlink(temporary)
  end
  return ok, err
end

local function replace_document(self, dir, name, key, text, replaced_text)
  local kept = KEPT_NAME:format(host.time.wall(), host.random.hex(16))
  local linked, err = dir:link(name, self.ours, kept)
  if not linked and err.code ~= "file.denied" then -- the kernel may refuse a link to another user's file
    return nil, err
  end
  local ok
  ok, err = dir:replace(name, text, nil, self.ours)
  if not ok then
    self.ours:unlink(kept)
    return nil, err
  end
  self.kept[key] = linked and { name = kept, text = replaced_text } or nil
  return true
end

local function write_if(self, dir, name, key, text, version)
  if version == false then
    return create_document(self, dir, name, text)
  end
  local current, err = dir:read(name, MAX_DOCUMENT)
  if not current then
    return nil, err
  elseif host.digest.sha256(current) ~= version then
    return nil, errors.new("file.exists", "it was written meanwhile")
  end
  local known = self.late[key]
  look_into_replaced(self, key)
  if self.kept[key] or self.late[key] ~= known then
    return nil, errors.new("file.exists", "the client wrote into the file that was replaced")
  end
  return replace_document(self, dir, name, key, text, current)
end

--- Writes a document if it is still the version that was read. Waits for other hosts.
---@param key string `experiments/<key>`
---@param text string
---@param version string|false of read_document; false: only if there is none
---@return string|nil version of what was written
---@return table|nil err store.changed
function Store:put_if(key, text, version)
  local dir, name = open_parent(self.database, key, version == false)
  if not dir then
    return nil, version and name.code == "store.not_found" and errors.new("store.changed", name.message) or name
  end
  local held, err = lock_writers(self)
  local ok
  if held then
    ok, err = write_if(self, dir, name, key, text, version)
    held:release()
  end
  dir:close()
  if ok then
    self.late[key] = nil
    return host.digest.sha256(text)
  elseif err.code == "file.exists" or err.code == "file.not_found" then
    return nil, errors.new("store.changed", key .. ": " .. err.message, { cause = err })
  end
  return nil, translate(err, key)
end

-- ---- Artifacts --------------------------------------------------------------------------------------------------

-- The client writes `file:/` before an absolute path: two slashes, so that the first folder looks like a host.
local function key_of_qualified(self, qualified)
  local path = qualified:match("^file:/*(/.*)$")
  local prefix = self.artifacts_path .. "/"
  if path and path:sub(1, #prefix) == prefix then
    return path:sub(#prefix + 1)
  end
end

local function key_of(self, artifact)
  local key = artifact.key or (artifact.qualified and key_of_qualified(self, artifact.qualified))
  if key then
    return key
  elseif artifact.url then
    return nil, errors.new("store.unsupported", "artifacts from http(s) addresses are not supported")
  end
  return nil, errors.new("store.denied",
    ("%s is not below the store %s"):format(artifact.qualified or "an artifact without key", self.artifacts_path))
end

local function open_artifact(self, artifact, make)
  local key, err = key_of(self, artifact)
  if not key then
    return nil, err
  end
  local parent, name = open_parent(self.artifacts, key, make)
  return parent, name, key
end

local function is_unpacked(artifact, key)
  if type(artifact.unpack) == "boolean" then
    return artifact.unpack
  end
  return key:find("%.tar[^/]*$") ~= nil -- the client leaves it null for what it reuses
end

-- An artifact that is not unpacked is the only file of its folder.
local function copy_whole(parent, from, dir, name, limits)
  local stat, err = parent:stat(from)
  if not stat then
    return nil, err
  elseif (limits.max_bytes or 0) > 0 and stat.size > limits.max_bytes then
    return nil, errors.new("archive.too_big", ("it has %.0f bytes, at most %.0f are allowed"):format(stat.size,
      limits.max_bytes))
  end
  local ok
  ok, err = dir:mkdir(name, FOLDER)
  if not ok then
    return nil, err
  end
  local into
  into, err = dir:open(name)
  if into then
    ok, err = parent:copy(from, into, from)
    into:close()
  end
  if not into or not ok then
    host.task.shield(READ_WAIT_MS * READ_TRIES, function()
      dir:remove_tree(name)
    end)
    return nil, err
  end
  return { bytes = stat.size }
end

--- Brings an artifact to dir/name. Waits.
---@param artifact {key: string|nil, qualified: string|nil, url: string|nil, unpack: boolean|nil}
---@param dir table directory handle
---@param name string made by this call
---@param limits {max_bytes: integer|nil, max_entries: integer|nil, max_ratio: integer|nil}|nil
---@return table|nil result of host.archive.unpack, or {bytes} when it is not unpacked
---@return table|nil err store.not_found, store.denied, store.unsupported, archive.*
function Store:fetch(artifact, dir, name, limits)
  limits = limits or {}
  local parent, from, key = open_artifact(self, artifact)
  if not parent then
    return nil, from
  end
  local result, err
  if is_unpacked(artifact, key) then
    result, err = host.archive.unpack({
      from_dir = parent,
      from = from,
      to_dir = dir,
      to = name,
      max_bytes = limits.max_bytes,
      max_entries = limits.max_entries,
      max_ratio = limits.max_ratio,
    })
  else
    result, err = copy_whole(parent, from, dir, name, limits)
  end
  parent:close()
  return result, err and translate(err, key)
end

--- Stores dir/name as the artifact. Waits. Readers see the old one or the new one.
---@param artifact {key: string|nil, qualified: string|nil, mutable: boolean}
---@param dir table directory handle
---@param name string
---@param options {ignore: string[]?, mtime_floor: integer?, max_bytes: integer?}|nil as host.archive.pack takes them
---@return table|nil result of host.archive.pack
---@return table|nil err
function Store:save(artifact, dir, name, options)
  options = options or {}
  if not artifact.mutable then
    return nil, errors.new("store.denied", "only a mutable artifact is saved")
  end
  local parent, to, key = open_artifact(self, artifact, true)
  if not parent then
    return nil, to
  end
  local result, err = host.archive.pack({
    from_dir = dir,
    from = name,
    to_dir = parent,
    to = to,
    ignore = options.ignore,
    mtime_floor = options.mtime_floor,
    max_bytes = options.max_bytes,
  })
  parent:close()
  return result, err and translate(err, key)
end

--- Is the artifact there?
---@return boolean|nil
---@return table|nil err
function Store:exists(artifact)
  local parent, name, key = open_artifact(self, artifact)
  local stat, err = nil, name
  if parent then
    stat, err = parent:stat(name)
    parent:close()
    err = err and translate(err, key)
  end
  if not stat and err.code ~= "store.not_found" then
    return nil, err
  end
  return stat ~= nil
end

--- The store's clock, in ms since 1970.
---@return integer
function Store:now() -- luacheck: no self
  return host.time.wall()
end

-- ---- Opening ----------------------------------------------------------------------------------------------------

-- The root itself may be reached by a link.
local function open_root(path)
  local ok, err = host.file.root:make_path(path, FOLDER)
  if not ok then
    return nil, err
  end
  return host.file.root:open(path .. "/.")
end

-- Kept files of hosts that died. Their own hosts remove them within a minute.
local function remove_left(ours)
  for _, entry in ipairs(ours:list() or {}) do
    local made = entry.name:match(KEPT_PATTERN)
    if made and host.time.wall() - tonumber(made) > KEPT_MS then
      ours:unlink(entry.name)
    end
  end
end

local function open_all(self, options)
  local err
  self.database, err = open_root(options.database.root)
  if not self.database then
    return nil, translate(err, "the database")
  end
  self.artifacts, err = open_root(options.artifacts.root)
  if not self.artifacts then
    return nil, translate(err, "the storage")
  end
  local ok
  ok, err = self.database:mkdir(OURS, FOLDER)
  if ok or err.code == "file.exists" then
    self.ours, err = self.database:open(OURS)
  end
  if not self.ours then
    return nil, translate(err, "the database")
  end
  remove_left(self.ours)
  return true
end

--- Lets go of the folders.
function Store:close()
  for key, kept in pairs(self.kept) do
    self.ours:unlink(kept.name)
    self.kept[key] = nil
  end
  for _, name in ipairs({ "database", "artifacts", "ours" }) do
    if self[name] then
      self[name]:close()
    end
  end
end

--- Opens the two folders; they are made when they are not there.
---@param options {database: {root: string}, artifacts: {root: string}} absolute paths
---@return table|nil store
---@return table|nil err
function m.open(options)
  local store = setmetatable({
    artifacts_path = (options.artifacts.root:gsub("/+$", "")),
    kept = {}, -- document key -> {name, text} of the file that was replaced last
    late = {}, -- document key -> status that the client wrote into it
  }, Store)
  local ok, err = open_all(store, options)
  if not ok then
    store:close()
    return nil, err
  end
  return store
end

return m
