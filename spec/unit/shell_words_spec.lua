local shell_words = require "shell_words"

describe("shell_words.split", function()
  local cases = {
    { "plain", { "plain" } },
    { "'a b'", { "a b" } },
    { "two words", { "two", "words" } },
    { [["a \"quoted\" $word"]], { [[a "quoted" $word]] } },
    { [["back\slash"]], { [[back\slash]] } },
    { [[a\ b]], { "a b" } },
    { [['it'"'"'s']], { "it's" } },
    { "''", { "" } },
    { "", {} },
    { "  spaced\t", { "spaced" } },
    { "'$(touch x)' `id` $HOME *", { "$(touch x)", "`id`", "$HOME", "*" } },
    { "'new\nline'", { "new\nline" } },
  }
  for _, case in ipairs(cases) do
    it(("reads %q as a shell does, and expands nothing"):format(case[1]), function()
      assert.same(case[2], shell_words.split(case[1]))
    end)
  end

  for _, text in ipairs({ "'open", '"open', "ends in \\", '"ends in \\' }) do
    it(("refuses %q and says why"):format(text), function()
      local words, problem = shell_words.split(text)
      assert.is_nil(words)
      assert.is_string(problem)
    end)
  end
end)

describe("shell_words.quote", function()
  it("is undone by split, for any text", function()
    math.randomseed(7)
    for _ = 1, 500 do
      local bytes = {}
      for index = 1, math.random(0, 12) do
        bytes[index] = string.char(math.random(1, 255))
      end
      local text = table.concat(bytes)
      assert.same({ text }, shell_words.split(shell_words.quote(text)))
    end
  end)

  it("leaves a plain word as it is", function()
    assert.equal("--epochs=3", shell_words.quote("--epochs=3"))
  end)
end)
