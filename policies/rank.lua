--- In which order are waiting jobs looked at? The lowest number first; among equals the older one.
--
-- Here: first come, first served, by the time at which the experiment was added to its queue.

local function rank(job)
  return job.added
end

return {
  api = 1,
  rank = rank,
  examples = {
    {
      says = "an experiment of a second ago comes before one of now",
      given = { { added = 1000 }, { name = "experiments" }, { now = 2000 } },
      gives = 1000,
    },
  },
}
