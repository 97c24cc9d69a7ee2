-- Words as a POSIX shell would see them: splits and removes quotes, and expands nothing.
--
-- The StudioML client quotes each argument once (`a b` arrives as `'a b'`). The program is started without a shell, so
-- the quotes are removed here, exactly once. Rules: POSIX.1-2017, Shell Command Language, section 2.2.
local shell_words = {}

-- One quoted or plain piece of a word: pattern of what it may hold, and how a backslash inside it is read.
local function read_double_quoted(text, position)
  local piece = {}
  while true do
    local plain, stop = text:match('^([^"\\]*)()', position)
    piece[#piece + 1] = plain
    local character = text:sub(stop, stop)
    if character == '"' then
      return table.concat(piece), stop + 1
    elseif character == "" then
      return nil, "a double quote is never closed"
    end
    local escaped = text:sub(stop + 1, stop + 1)
    if escaped == "" then
      return nil, "it ends in a backslash"
    elseif escaped ~= "\n" then
      piece[#piece + 1] = escaped:match('[$`"\\]') or ("\\" .. escaped)
    end
    position = stop + 2
  end
end

local function read_piece(text, position)
  local character = text:sub(position, position)
  if character == "'" then
    local quoted, stop = text:match("^'([^']*)'()", position)
    if not quoted then
      return nil, "a single quote is never closed"
    end
    return quoted, stop
  elseif character == '"' then
    return read_double_quoted(text, position + 1)
  elseif character == "\\" then
    local escaped = text:sub(position + 1, position + 1)
    if escaped == "" then
      return nil, "it ends in a backslash"
    end
    return escaped == "\n" and "" or escaped, position + 2
  end
  return text:match("^([^%s'\"\\]+)()", position)
end

--- Splits `text` into words.
---@param text string
---@return string[]|nil words nil when a quote is not closed
---@return string|nil problem what is wrong, as the end of a sentence
function shell_words.split(text)
  local words, position = {}, 1
  while true do
    position = text:match("^%s*()", position)
    if position > #text then
      return words
    end
    local word = {}
    while position <= #text and not text:find("^%s", position) do
      local piece, next_position = read_piece(text, position)
      if not piece then
        return nil, next_position
      end
      word[#word + 1] = piece
      position = next_position
    end
    words[#words + 1] = table.concat(word)
  end
end

--- Quotes `text` so that `split` (and a shell) gives back exactly it, as one word. As Python's shlex.quote.
---@param text string
---@return string
function shell_words.quote(text)
  if text ~= "" and not text:find("[^%w@%%+=:,./_-]") then
    return text
  end
  return "'" .. text:gsub("'", [['"'"']]) .. "'"
end

return shell_words
