-- Reads the words of a command line by a table that also prints the help.
--
-- An entry: {name = "max-duration", value = "5m", list = true, help = "…"}: value shows how one looks (none: a switch);
-- list: may be repeated.
-- Names are compared after folding case and `- _ .`, as everywhere in moonrunner; `--name value` and `--name=value`.
local errors = require "errors"

local arguments = {}

local HELP_COLUMN = 28
local WIDTH = 80

local function fold(name)
  return name:lower():gsub("[%-_.]", "")
end

local function find(entries, name)
  for _, entry in ipairs(entries) do
    if fold(entry.name) == fold(name) then
      return entry
    end
  end
end

local function invalid(text)
  return nil, errors.new("option.invalid", text)
end

-- The nearest name, for a slip of the fingers: one that shares the longest beginning, of at least three letters.
local function suggestion(entries, name)
  local best, longest = nil, 2
  for _, entry in ipairs(entries) do
    local known, given, same = fold(entry.name), fold(name), 0
    while same < #known and known:byte(same + 1) == given:byte(same + 1) do
      same = same + 1
    end
    if same > longest then
      best, longest = entry.name, same
    end
  end
  return best and ("; did you mean --%s?"):format(best) or ""
end

--- Reads options up to the first word that is none; what follows is `rest`.
---@param entries table[]
---@param words string[]
---@return table|nil values by name; lists as lists, switches as true
---@return string[]|table rest, or the error option.invalid
function arguments.parse(entries, words)
  local values, index = {}, 1
  while words[index] and words[index]:find("^%-") and words[index] ~= "--" do
    local name, value = words[index]:match("^%-%-?([^=]+)=?(.*)$")
    local has_value = words[index]:find("=", 1, true) ~= nil
    local entry = name and find(entries, name)
    if not entry then
      return invalid(("%s: unknown option%s"):format(words[index], suggestion(entries, name or "")))
    elseif not entry.value and has_value then
      return invalid(("--%s takes no value"):format(entry.name))
    elseif entry.value and not has_value then
      index = index + 1
      value = words[index]
      if not value then
        return invalid(("--%s needs a value, such as %s"):format(entry.name, entry.value))
      end
    end
    if entry.list then
      values[entry.name] = values[entry.name] or {}
      table.insert(values[entry.name], value)
    else
      values[entry.name] = entry.value and value or true
    end
    index = index + 1
  end
  if words[index] == "--" then
    index = index + 1
  end
  return values, { unpack(words, index) }
end

-- Breaks text into lines that fit behind the column of names.
local function wrap(text, column)
  local lines, line = {}, ""
  for word in text:gmatch("%S+") do
    if line ~= "" and column + #line + 1 + #word > WIDTH then
      lines[#lines + 1] = line
      line = word
    else
      line = line == "" and word or line .. " " .. word
    end
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n" .. (" "):rep(column))
end

--- The options as help text, one paragraph each.
---@param entries table[]
---@return string
function arguments.help(entries)
  local lines = {}
  for _, entry in ipairs(entries) do
    local name = "  --" .. entry.name .. (entry.value and " " .. entry.value or "")
    local gap = #name + 2 > HELP_COLUMN and "\n" .. (" "):rep(HELP_COLUMN) or (" "):rep(HELP_COLUMN - #name)
    lines[#lines + 1] = name .. gap .. wrap(entry.help, HELP_COLUMN)
  end
  return table.concat(lines, "\n") .. "\n"
end

return arguments
