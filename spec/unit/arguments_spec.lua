local arguments = require "cli.arguments"

local OPTIONS = {
  { name = "queue", value = "NAME", help = "The queue." },
  { name = "gpuMem", value = "8g", help = "Memory." },
  { name = "max-duration", value = "5m", help = ("a long sentence about it "):rep(8) },
  { name = "capture-once", value = "PATH:TAG", list = true, help = "May be repeated." },
  { name = "wait", help = "A switch." },
}

local function parse(...)
  return arguments.parse(OPTIONS, { ... })
end

describe("a command line", function()
  it("has options up to the first word that is none; the rest belongs to the program", function()
    local values, rest = parse("--queue", "q", "--wait", "job.py", "--queue", "other", "-x")
    assert.same({ queue = "q", wait = true }, values)
    assert.same({ "job.py", "--queue", "other", "-x" }, rest)
  end)

  it("takes a value as the next word or after =, with everything that stands there", function()
    assert.same({ queue = "a=b c" }, (parse("--queue=a=b c")))
    assert.same({ queue = "--wait" }, (parse("--queue", "--wait")))
    assert.same({ queue = "" }, (parse("--queue=")))
  end)

  it("spells names with any case, any of - _ . and one dash or two", function()
    for _, word in ipairs({ "--max-duration=1m", "--max_duration=1m", "-max.duration=1m", "--MAXDURATION=1m" }) do
      assert.same({ ["max-duration"] = "1m" }, (parse(word)))
    end
    assert.same({ gpuMem = "1g" }, (parse("--gpumem", "1g")))
  end)

  it("collects what may be repeated, and lets the last one win elsewhere", function()
    assert.same({ ["capture-once"] = { "a:b", "c:d" }, queue = "2" },
      (parse("--capture-once", "a:b", "--queue=1", "--capture-once=c:d", "--queue=2")))
  end)

  it("ends its options at --, and a program's name may then look like one", function()
    local values, rest = parse("--wait", "--", "--odd.py", "--")
    assert.same({ { wait = true }, { "--odd.py", "--" } }, { values, rest })
  end)

  local refusals = {
    { { "--queu=1" }, "--queu=1: unknown option; did you mean --queue?" },
    { { "--max-durations", "5m" }, "did you mean --max-duration?" },
    { { "--xyz" }, "--xyz: unknown option" },
    { { "-" }, "-: unknown option" },
    { { "--queue" }, "--queue needs a value, such as NAME" },
    { { "--wait=yes" }, "--wait takes no value" },
  }
  for _, case in ipairs(refusals) do
    it(("is refused: %s"):format(case[2]), function()
      local values, err = parse(unpack(case[1]))
      assert.is_nil(values)
      assert.equal("option.invalid", err.code)
      assert.is_truthy(err.message:find(case[2], 1, true), err.message)
    end)
  end

  it("suggests nothing where nothing is near", function()
    local _, err = parse("--xyz")
    assert.is_nil(err.message:find("did you mean", 1, true))
  end)
end)

describe("the help", function()
  it("names each option once and fits into 80 columns", function()
    local text = arguments.help(OPTIONS)
    for line in text:gmatch("[^\n]+") do
      assert.is_true(#line <= 80, line)
    end
    for _, entry in ipairs(OPTIONS) do
      local _, count = text:gsub("  %-%-" .. entry.name:gsub("%-", "%%-") .. "%f[^%w%-]", "")
      assert.equal(1, count, entry.name)
    end
    assert.matches("\n  %-%-wait +A switch%.\n$", text)
  end)
end)
