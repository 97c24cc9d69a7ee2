--- How many unstarted messages may this host hold of a queue?
--
-- waiting: at most so many (on a queue that others consume too, the host lowers it to what could start at once);
-- priority: of our consumers on RabbitMQ; higher ones are served first.

local function intake(_, node)
  return { waiting = math.max(4, 2 * node.total.cores), priority = 0 }
end

return {
  api = 1,
  intake = intake,
  examples = {
    {
      says = "a small host still holds four, so that the next job is there when one ends",
      given = { { name = "experiments", backend = "folder" }, { total = { cores = 1 } } },
      gives = { waiting = 4, priority = 0 },
    },
    {
      says = "a large host holds two for each core",
      given = { { name = "experiments", backend = "folder" }, { total = { cores = 16 } } },
      gives = { waiting = 32, priority = 0 },
    },
  },
}
