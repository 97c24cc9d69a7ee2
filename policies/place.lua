--- Which cores, memory, disk and GPUs does this job get out of what is free? Or: what is missing?
--
-- Here: exactly what it asks for; GPUs from the fullest cards that still have room, so that whole cards stay free.

local fit = require("fit")

local function place(job, free)
  return fit.place(job.needs, free)
end

return {
  api = 1,
  place = place,
  examples = {
    {
      says = "a job gets what it asks for",
      given = {
        { needs = { cores = 2, mem = 1000, disk = 500 } },
        { cores = 4, mem = 4000, disk = 4000, gpus = {} },
      },
      gives = { cores = 2, mem = 1000, disk = 500, gpus = {}, gpu_mem = 0 },
    },
    {
      says = "the first thing that is missing is named",
      given = {
        { needs = { cores = 2, mem = 8000, disk = 500 } },
        { cores = 4, mem = 4000, disk = 4000, gpus = {} },
      },
      refuses = { rule = "memory", need = 8000, have = 4000 },
    },
    {
      says = "a share of a GPU comes from the card that is in use already",
      given = {
        { needs = { cores = 1, mem = 0, disk = 0, gpus = 1, gpu_mem = 10 } },
        {
          cores = 4,
          mem = 0,
          disk = 0,
          gpus = { { uuid = "a", mem = 40, free_mem = 40 }, { uuid = "b", mem = 40, free_mem = 25 } },
        },
      },
      gives = { cores = 1, mem = 0, disk = 0, gpus = { "b" }, gpu_mem = 10 },
    },
  },
}
