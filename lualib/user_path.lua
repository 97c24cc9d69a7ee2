-- Paths as a user gives them: relative to where the command was started, and through any links.
local errors = require "errors"

local user_path = {}

local MOST_LINKS = 40 -- as the kernel's own limit

local function absolute(path)
  if path:sub(1, 1) == "/" then
    return path
  end
  return host.environment.working_folder() .. "/" .. path
end

--- The absolute path of what `path` names. Its last component is no link, unless nothing is there.
---@param path string
---@return string|nil
---@return table|nil err option.invalid
function user_path.resolve(path)
  if path:sub(1, 1) == "~" then
    return nil, errors.new("option.invalid", ("%s begins with ~, which only a shell replaces, and only at the start of "
      .. "a word: write the whole path, or $HOME in a shell"):format(path))
  end
  path = absolute(path)
  for _ = 1, MOST_LINKS do
    path = #path > 1 and path:gsub("/+$", "") or path
    local target = host.file.root:readlink(path)
    if not target then
      return path
    end
    path = target:sub(1, 1) == "/" and target or path:match("^(.*/)") .. target
  end
  return nil, errors.new("option.invalid", path .. ": too many links")
end

return user_path
