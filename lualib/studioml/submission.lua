-- Makes what the StudioML client makes of an experiment: archives in the store, the document, and the message.
local document = require "studioml.document"
local errors = require "errors"
local json = require "json"
local shell_words = require "shell_words"
local user_path = require "user_path"

local submission = {}

submission.ARTIFACT_BUCKET = "storage"
submission.DATABASE_BUCKET = "studioml-meta"

-- What a program may write; taken back under these tags, as the client's own defaults.
local MUTABLE_TAGS = { "modeldir", "retval", "output", "tb", "_metrics", "_metadata" }
local FOLDER_MODE, FILE_MODE = "0755", "0644"

-- The patterns of `.studioml_ignore` in the folder that is packed; a line is a pattern, `#` begins a comment.
local function ignore_patterns(folder)
  local text = folder:read(".studioml_ignore", 1024 * 1024)
  local patterns = {}
  for line in (text or ""):gmatch("[^\r\n]+") do
    local pattern = line:match("^%s*(.-)%s*$")
    if pattern ~= "" and pattern:sub(1, 1) ~= "#" then
      patterns[#patterns + 1] = pattern
    end
  end
  return patterns
end

-- Packs a folder or file into the store, under the name of its content. Waits.
local function pack(store, folder, name, ignore)
  local made, err = store:make_path("blobstore", FOLDER_MODE)
  if not made then
    return nil, err
  end
  local temporary = "blobstore/.moonrunner-" .. host.random.hex(16)
  local packed
  packed, err = host.archive.pack({ from_dir = folder, from = name, to_dir = store, to = temporary, ignore = ignore })
  if not packed then
    return nil, err
  end
  packed.key = "blobstore/" .. packed.sha256 .. ".tar"
  made, err = store:rename(temporary, store, packed.key)
  if not made then
    store:unlink(temporary)
    return nil, err
  end
  return packed
end

local function artifact(store, key, mutable, local_path)
  return {
    unpack = true, mutable = mutable, key = key, ["local"] = local_path,
    qualified = "file:/" .. store:path() .. "/" .. key,
  }
end

-- `PATH:TAG`; the last colon counts, since a path may hold one.
local function captured(text)
  local path, tag = text:match("^(.+):([^:/]+)$")
  if not path then
    return nil, errors.new("option.invalid", ("--capture-once %s: should be PATH:TAG"):format(text))
  end
  return path, tag
end

local function add_captures(artifacts, store, captures)
  for _, text in ipairs(captures) do
    local path, tag = captured(text)
    if not path then
      return nil, tag
    end
    local resolved, err = user_path.resolve(path)
    local packed
    if resolved then
      packed, err = pack(store, host.file.root, resolved)
    end
    if not packed then
      return nil, errors.wrap(err, "--capture-once " .. text)
    end
    artifacts[tag] = artifact(store, packed.key, false, path)
  end
  return true
end

-- lua-cjson can not tell an empty list from an empty object: lists are put in as text.
local function list_text(items)
  return #items == 0 and "[]" or json.encode(items)
end

local function document_text(request, artifacts)
  local quoted = {}
  for index, argument in ipairs(request.arguments) do
    quoted[index] = shell_words.quote(argument)
  end
  local now = host.time.wall() / 1000
  return document.set(json.encode({
    key = request.key, filename = request.program, project = json.null,
    pythonver = request.python_version, resources_needed = request.needs, status = "waiting", time_added = now,
    time_started = json.null, time_last_checkpoint = now, time_finished = json.null, info = {}, git = json.null,
    metric = json.null, max_duration = request.max_duration or json.null, owner = "guest",
    from_compl_service = false, artifacts = artifacts,
  }), { args = list_text(quoted), pythonenv = list_text(request.requirements) })
end

-- The message and the document as text.
local function describe(request, artifacts, packed, roots)
  local text, err = document_text(request, artifacts)
  if not text then
    return nil, err
  end
  local function place(bucket)
    return { type = "local", endpoint = request.store, bucket = bucket }
  end
  local config = json.encode({
    database = place(submission.DATABASE_BUCKET), storage = place(submission.ARTIFACT_BUCKET),
    experimentLifetime = request.lifetime,
  })
  return {
    key = request.key, packed = packed, artifacts = roots[submission.ARTIFACT_BUCKET],
    database = roots[submission.DATABASE_BUCKET], document = text,
    message = ('{"experiment": %s, "config": %s}'):format(text, config),
  }
end

-- The two folders of the store, open, by bucket; any of them may be reached by a link.
local function open_roots(path)
  local roots = {}
  for _, bucket in ipairs({ submission.ARTIFACT_BUCKET, submission.DATABASE_BUCKET }) do
    local made, err = host.file.root:make_path(path .. "/" .. bucket, FOLDER_MODE)
    if made then
      roots[bucket], err = host.file.root:open(path .. "/" .. bucket .. "/.")
    end
    if not roots[bucket] then
      return nil, err
    end
  end
  return roots
end

--- Packs the workspace and captures, and makes the message. Waits.
---@param request {key: string, folder: string, program: string, arguments: string[], store: string, needs: table,
--- max_duration: string?, lifetime: string?, captures: string[], requirements: string[], python_version: string}
---@return {key: string, message: string, document: string, packed: table, artifacts: table, database: table}|nil
---@return table|nil err
function submission.make(request)
  local roots, err = open_roots(request.store)
  if not roots then
    return nil, errors.wrap(err, "--store")
  end
  local store = roots[submission.ARTIFACT_BUCKET]
  local folder
  folder, err = host.file.root:open(request.folder .. "/.")
  if not folder then
    return nil, err
  end
  local packed
  packed, err = pack(store, folder, ".", ignore_patterns(folder))
  folder:close()
  if not packed then
    return nil, errors.wrap(err, "packing " .. request.folder)
  end
  local artifacts = { workspace = artifact(store, packed.key, false, request.folder) }
  for _, tag in ipairs(MUTABLE_TAGS) do
    artifacts[tag] = artifact(store, ("experiments/%s/%s.tar"):format(request.key, tag), true)
  end
  local added
  added, err = add_captures(artifacts, store, request.captures)
  if not added then
    return nil, err
  end
  return describe(request, artifacts, packed, roots)
end

--- Writes the document: what `studio runs` shows, and where the runner says how it goes.
---@return true|nil, table|nil err file.exists: there is an experiment of that key already
function submission.write_document(made)
  for _, folder in ipairs({ "experiments", "users/guest/experiments" }) do
    local ok, err = made.database:make_path(folder, FOLDER_MODE)
    if not ok then
      return nil, err
    end
  end
  local written, err = made.database:create("experiments/" .. made.key, made.document, FILE_MODE)
  if not written then
    return nil, err
  end
  return made.database:replace("users/guest/experiments/" .. made.key, tostring(math.floor(host.time.wall() / 1000)),
    FILE_MODE)
end

return submission
