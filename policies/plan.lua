--- Which of the waiting jobs start now? They come in order of rank; `place` says what a job would get.
--
-- Here: first fit. Whoever fits starts; a job that does not fit now lets smaller ones pass.

local fit = require("fit")

local function plan(waiting, node, place)
  local answer = {}
  local free = fit.copy(node.free)
  for _, job in ipairs(waiting) do
    local placement = place(job, free)
    if placement then
      answer[#answer + 1] = { start = job, placement = placement }
      fit.take(free, placement)
    end
  end
  return answer
end

local small = { id = 1, needs = { cores = 1, mem = 0, disk = 0 } }
local large = { id = 2, needs = { cores = 4, mem = 0, disk = 0 } }
local one_core = { cores = 1, mem = 0, disk = 0, gpus = {}, gpu_mem = 0 }

return {
  api = 1,
  plan = plan,
  examples = {
    {
      says = "a small job passes a large one that does not fit now",
      given = { { large, small }, { now = 0, free = { cores = 2, mem = 0, disk = 0, gpus = {} } } },
      gives = { { start = small, placement = one_core } },
    },
    {
      says = "nothing starts on a full host",
      given = { { large, small }, { now = 0, free = { cores = 0, mem = 0, disk = 0, gpus = {} } } },
      gives = {},
    },
  },
}
