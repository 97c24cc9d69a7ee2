-- Structured scopes: tasks that are started together end together.
--
--     local results, err = scope.run(function(s)
--       local logs = s:start(ship_logs, job)
--       local ending, failure = process:wait()
--       logs:cancel()
--       return ending, failure
--     end)
--
-- The body and everything that it starts are children of the caller. The first of them that fails (returns nil, err, or
-- raises) cancels the others; scope.run returns that failure when all have ended, and otherwise the body's results.
-- Whatever happens, no child is left when scope.run returns.

local m = {}

---@class scope
---@field running table[] the tasks that have not ended, oldest first
---@field ended table the channel that receives each task when it has ended
---@field dismissed table tasks that the body has cancelled itself: that they fail is no failure of the scope
local methods = {}
methods.__index = methods

local child = {}
child.__index = child

local function cancel_all(scope, err)
  for _, task in ipairs(scope.running) do
    task:cancel(err)
  end
end

-- nil, err where err is something; anything else is success.
local function failure_of(first, err)
  if first == nil and err ~= nil then
    return err
  end
  return nil
end

---Starts f(…) as a child that runs beside the body.
---@param f function
---@return table|nil child with cancel, join and done
---@return table|nil err
function methods:start(f, ...)
  local task, err = host.task.start(f, ...)
  if not task then
    return nil, err
  end
  table.insert(self.running, task)
  task:announce(self.ended)
  return setmetatable({ task = task, scope = self }, child)
end

---Ends this child early. That it fails is then no failure of the scope, unless it raises.
---@param err table|nil
function child:cancel(err)
  self.scope.dismissed[self.task] = true
  self.task:cancel(err)
end

---Waits for this child's results. A failure cancels the scope all the same.
function child:join()
  return self.task:join()
end

---@return boolean
function child:done()
  return self.task:done()
end

local function forget(scope, task)
  for i, other in ipairs(scope.running) do
    if other == task then
      table.remove(scope.running, i)
      return
    end
  end
end

-- The failure of `task` that ends the scope, or nil.
local function failure_that_counts(scope, task)
  local err = failure_of(task:join())
  if err and scope.dismissed[task] and err.code ~= "task.raised" and err.code ~= "task.overran" then
    return nil
  end
  return err
end

-- Waits until every child has ended. Returns the first failure, which has cancelled the others.
local function wait_for_all(scope)
  while #scope.running > 0 do
    local task, err = scope.ended:receive()
    if task then
      forget(scope, task)
      err = failure_that_counts(scope, task)
    end
    if err then
      cancel_all(scope, err)
      for _, other in ipairs(scope.running) do
        other:await_end()
      end
      return err
    end
  end
  return nil
end

---Runs body(scope, …) and all that it starts, and returns when all have ended.
---@param body function
---@return any results of body, or nil, err of the first that failed
function m.run(body, ...)
  local scope = setmetatable({ running = {}, ended = host.task.channel(), dismissed = {} }, methods)
  local main, err = scope:start(body, scope, ...)
  if not main then
    return nil, err
  end
  err = wait_for_all(scope)
  if err then
    return nil, err
  end
  return main.task:join()
end

---Runs the functions at the same time. Returns their first results in a table, in the same order, or nil and the
---first failure.
---@param functions function[]
---@return table|nil results
---@return table|nil err
function m.all(functions)
  return m.run(function(scope)
    local children, results = {}, {}
    for i, f in ipairs(functions) do
      local started, err = scope:start(f)
      if not started then
        return nil, err
      end
      children[i] = started
    end
    for i, started in ipairs(children) do
      local value, err = started:join()
      if value == nil and err ~= nil then
        return nil, err
      end
      results[i] = value
    end
    return results
  end)
end

return m
