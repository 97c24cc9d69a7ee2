-- Where a job's files are, in the client's own layout: both ways by which job code finds its data lead to them
-- (the mapping file of STUDIOML_ARTIFACT_MAPPING, and `../<tag>` from the workspace).
--
--   <folder>/                                   STUDIOML_HOME, HOME and TMPDIR of the job
--   <folder>/experiments/<key>/<tag>            each artifact: workspace, modeldir, output …
--   <folder>/artifact_mappings/<key>/artifacts.json
local json = require "json"

local layout = {}

-- Folders that the client's library expects to be there when their tag is part of the experiment.
local FOLDERS = { modeldir = true, tb = true, workspace = true }

--- The path of experiment `key` below a job's folder.
function layout.experiment(folder, key)
  return ("%s/experiments/%s"):format(folder, key)
end

--- The path of the mapping file, which tells the client's library where each artifact is.
function layout.mapping_file(folder, key)
  return ("%s/artifact_mappings/%s/artifacts.json"):format(folder, key)
end

--- Makes the folders of a job. `directory` is its folder, open.
---@return table|nil experiment the open folder of the artifacts
---@return table|nil err
function layout.make(directory, key)
  local ok, err = directory:make_path("experiments/" .. key, "0700")
  if ok then
    ok, err = directory:make_path("artifact_mappings/" .. key, "0700")
  end
  if not ok then
    return nil, err
  end
  return directory:open("experiments/" .. key)
end

--- Makes the folders that job code expects, and writes the mapping file.
---@param experiment table the open folder of the artifacts
---@param artifacts table[] the message's
---@return true|nil, table|nil err
function layout.complete(experiment, directory, folder, key, artifacts)
  local mapping = {}
  local made, err = experiment:make_path("workspace", "0700")
  if not made then
    return nil, err
  end
  for _, artifact in ipairs(artifacts) do
    mapping[artifact.tag] = layout.experiment(folder, key) .. "/" .. artifact.tag
    if FOLDERS[artifact.tag] and not experiment:stat(artifact.tag) then
      made, err = experiment:make_path(artifact.tag, "0700")
      if not made then
        return nil, err
      end
    end
  end
  return directory:create(("artifact_mappings/%s/artifacts.json"):format(key), json.encode(mapping), "0600")
end

--- The name to pack for `tag`: a folder that holds nothing but a file of its own name (`retval/retval`) travels as
--- that file, since the client takes a single-file archive for the artifact itself.
---@return table|nil directory, string|nil name nil when there is nothing to pack
---@return table|nil err
function layout.packed(experiment, tag)
  local entry, err = experiment:stat(tag)
  if not entry then
    return nil, nil, err.code ~= "file.not_found" and err or nil
  end
  if entry.kind == "directory" then
    local folder = experiment:open(tag)
    local entries = folder and folder:list()
    if entries and #entries == 1 and entries[1].name == tag and entries[1].kind == "file" then
      return folder, tag
    end
    if folder then
      folder:close()
    end
  end
  return experiment, tag
end

return layout
