-- The folder queue: each folder below `<queue.folder>` is a queue, as the StudioML client makes it on one machine.
--
-- A served queue is an open directory handle, so what counts is the folder that was opened, whatever stands at its path
-- later. A claim is a rename out of it, under the client's lock, into our run's folder; its new name carries the number
-- of the attempt, so a job that kills its host was counted before it ran. At every moment a message is in exactly one
-- place. Nothing of ours is ever inside a queue's folder but whole messages, and for an instant the lock.
local errors = require "errors"
local folder_name = require "queue.folder_name"
local folder_runs = require "queue.folder_runs"
local lock = require "queue.lock"
local set_aside = require "queue.folder_set_aside"

local m = {}

local LISTING_MS = 250 -- how long one listing of a folder serves claims: a folder of 10,000 is not read for each
local QUIET_MS = 1000 -- a queue whose messages can not be moved is left alone for that long
local MAX_FAILURES = 64 -- so many messages that can not be moved end a claim

local Backend, Queue, Delivery = {}, {}, {}
Backend.__index, Queue.__index, Delivery.__index = Backend, Queue, Delivery

-- ---- Deliveries -------------------------------------------------------------------------------------------------

-- The claimed file's text, or nil and why it can not be given.
local function read_body(queue, name, size)
  local max = queue.backend_state.max_message_size
  local text, err = queue.claims:read(name, max)
  if not text and err.code == "file.too_big" then
    return nil, errors.new("message.too_big",
      ("the message has %d bytes, at most %d are read (message.max-size)"):format(size, max))
  end
  return text, err
end

local function new_delivery(queue, entry, name)
  local claimed, before = folder_name.parse(name), folder_name.parse(entry.name)
  local body, problem = read_body(queue, name, entry.size)
  queue.unanswered = queue.unanswered + 1
  return setmetatable({
    id = queue.backend_state.next_id(),
    queue = queue.name,
    body = body,
    problem = problem,
    size = entry.size,
    key_hint = before.base,
    attempt = claimed.attempt,
    failures = claimed.failures,
    redelivered = before.numbered,
    added = entry.mtime,
    base = claimed.base,
    source = queue,
    name = name,
    answered = false,
  }, Delivery)
end

--- Was the queue removed? Then every answer says "lost".
function Delivery:lost()
  return self.source:gone()
end

-- Removes the claim. One that is not there any more was taken from us.
local function drop_claim(delivery, answer)
  local ok, err = delivery.source.claims:unlink(delivery.name)
  if ok then
    return answer
  end
  return err.code == "file.not_found" and "lost" or nil, err
end

-- Carries out an answer, once. One that failed may be given again.
local function answer(delivery, perform)
  if delivery.answered then
    error(("delivery %d was answered before: %s"):format(delivery.id, delivery.answered), 3)
  elseif delivery.answering then
    error(("delivery %d is being answered"):format(delivery.id), 3)
  end
  delivery.answering = true
  local how, err = perform(delivery)
  if not how and delivery:lost() then
    how, err = drop_claim(delivery, "lost")
  end
  delivery.answering = false
  if not how then
    return nil, errors.wrap(err, ("queue %s, message %s"):format(delivery.queue, delivery.key_hint))
  end
  delivery.answered = how
  delivery.source:answered_one()
  return how
end

-- Renames the claim back into its queue, under the client's lock.
local function give_back(delivery, numbers, new_time)
  local queue = delivery.source
  local held, err = queue.lock:take()
  if not held then
    return nil, err
  end
  local ok = true
  if new_time then
    ok, err = queue.claims:touch(delivery.name, new_time)
  end
  if ok then
    ok, err = folder_name.move_to_free(delivery.base, function(base)
      return folder_name.in_queue(base, numbers.attempt, numbers.failures)
    end, function(to)
      return queue.claims:rename_exclusive(delivery.name, queue.dir, to)
    end)
  end
  queue.listing = nil
  queue.lock:release()
  return ok, err
end

local function check_numbers(numbers)
  assert(type(numbers) == "table" and type(numbers.attempt) == "number" and type(numbers.failures) == "number",
    "an answer that returns a message takes {attempt = n, failures = n}")
end

--- The message is never seen again. Waits.
---@return "acknowledged"|"lost"|nil answer
---@return table|nil err
function Delivery:acknowledge()
  return answer(self, function()
    return drop_claim(self, self:lost() and "lost" or "acknowledged")
  end)
end

--- To the tail of the queue. Waits.
---@param numbers {attempt: integer, failures: integer} the next claim is attempt + 1
---@return "again"|"lost"|nil answer
---@return table|nil err
function Delivery:again(numbers)
  check_numbers(numbers)
  return answer(self, function()
    -- Times of files are finer than ours: the next millisecond is behind all that was added in this one.
    local ok, err = give_back(self, numbers, host.time.wall() + 1)
    return ok and "again", err
  end)
end

--- To its old place in the queue. Waits.
---@param numbers {attempt: integer, failures: integer} the next claim is attempt + 1
---@return "handed_back"|"lost"|nil answer
---@return table|nil err
function Delivery:hand_back(numbers)
  check_numbers(numbers)
  return answer(self, function()
    local ok, err = give_back(self, numbers)
    return ok and "handed_back", err
  end)
end

--- Out of the queue, to where an operator looks. Waits.
---@param about {reason: string, code: string?, attempt: integer, failures: integer}
---@return "set_aside"|"lost"|nil answer
---@return table|nil err
function Delivery:set_aside(about)
  check_numbers(about)
  assert(type(about.reason) == "string", "set_aside takes a reason")
  return answer(self, function()
    if self:lost() then
      return drop_claim(self, "lost")
    end
    local ok, err = set_aside.move(self.source.backend_state.runs.ours, self.queue, self.source.claims, self.name, {
      base = self.base,
      attempt = about.attempt,
      failures = about.failures,
      reason = about.reason,
      code = about.code,
      added = self.added,
    })
    return ok and "set_aside", err
  end)
end

-- ---- Queues -----------------------------------------------------------------------------------------------------

--- Was the folder removed that this queue was opened as?
function Queue:gone()
  local stat, err = self.dir:stat()
  return stat and stat.links == 0 or (not stat and err.code == "file.gone")
end

local function older(a, b)
  if a.mtime ~= b.mtime then
    return a.mtime < b.mtime
  end
  return a.name < b.name
end

local function list_messages(self)
  local entries, err = self.dir:list()
  if not entries then
    return nil, err
  end
  local messages = {}
  for _, entry in ipairs(entries) do
    if folder_name.is_message(entry) then
      messages[#messages + 1] = entry
    end
  end
  table.sort(messages, older)
  return messages
end

-- The listing that claims are made from. Whatever is in it is whole once we hold the lock: its writer had it before.
local function refresh_listing(self)
  local messages, err = list_messages(self)
  self.listing = messages and { messages = messages, next = 1, until_ms = host.time.monotonic() + LISTING_MS }
  return self.listing, err
end

local function current_listing(self)
  local listing = self.listing
  if listing and listing.messages[listing.next] and host.time.monotonic() < listing.until_ms then
    return listing
  end
  return refresh_listing(self)
end

-- Moves one message into our claims. The name that it gets counts the attempt.
local function move_in(self, entry)
  local message = folder_name.parse(entry.name)
  return folder_name.move_to_free(folder_name.fit(message.base), function(base)
    return folder_name.format(base, message.attempt + 1, message.failures)
  end, function(to)
    return self.dir:rename_exclusive(entry.name, self.claims, to)
  end)
end

-- Moves the oldest message in that can be moved. Returns its entry and its new name, or false, or nil and an error.
local function move_oldest_in(self)
  local listing = self.listing
  local failures, first_failure = 0, nil
  while listing and failures < MAX_FAILURES do
    local entry = listing.messages[listing.next]
    if not entry then
      break
    end
    listing.next = listing.next + 1
    local name, err = move_in(self, entry)
    if name then
      return entry, name
    elseif err.code ~= "file.not_found" then -- taken by another meanwhile
      failures, first_failure = failures + 1, first_failure or errors.wrap(err, "message " .. entry.name)
    end
  end
  if first_failure then
    return nil, first_failure
  end
  return false
end

local function claim_under_lock(self)
  local entry, name = move_oldest_in(self)
  if entry == false then
    -- All of an older listing are taken; what came since must not wait for the next hint.
    local listing, err = refresh_listing(self)
    if not listing then
      return nil, err
    end
    entry, name = move_oldest_in(self)
  end
  return entry, name
end

local function claim(self)
  local listing, err = current_listing(self)
  if not listing then
    return nil, err
  elseif #listing.messages == 0 then
    return false -- without touching the folder: our own lock would wake those who watch it
  end
  local held
  held, err = self.lock:take()
  if not held then
    return nil, err
  end
  local entry, name = claim_under_lock(self)
  self.lock:release()
  if not entry then
    self.quiet_until = host.time.monotonic() + (entry == nil and QUIET_MS or 0)
    return entry, name
  end
  return new_delivery(self, entry, name)
end

--- Claims the oldest message. Waits for the client's lock.
---@return table|false|nil delivery false: none is ready
---@return table|nil err queue.gone when the folder was removed
function Queue:claim()
  if host.time.monotonic() < self.quiet_until then
    return false
  end
  local delivery, err = claim(self)
  if delivery then
    return delivery
  elseif self:gone() then
    return nil, errors.new("queue.gone", ("queue %s: its folder was removed"):format(self.name))
  elseif delivery == nil then
    return nil, errors.wrap(err, "queue " .. self.name)
  end
  return false
end

--- How many messages are ready, and how many consumers there are that are not ours.
---@return {ready: integer, others: integer}|nil
---@return table|nil err
function Queue:depth()
  local messages, err = list_messages(self)
  if not messages then
    return nil, err
  end
  local others
  others, err = folder_runs.count_others(self.backend_state.runs)
  return others and { ready = #messages, others = others }, err
end

local function close_handles(self)
  self.backend_state.queues[self] = nil
  self.claims:close()
  self.dir:close()
end

-- Called by each delivery that was answered.
function Queue:answered_one()
  self.unanswered = self.unanswered - 1
  if self.closing and self.unanswered == 0 then
    close_handles(self)
  end
end

--- Serves the queue no longer. What is held stays to be answered; the handles close with the last answer.
function Queue:close()
  if not self.closing then
    self.closing = true
    if self.unanswered == 0 then
      close_handles(self)
    end
  end
end

-- ---- The backend ------------------------------------------------------------------------------------------------

--- The queues that could be served now, sorted. A folder whose name can not be served is logged, once.
---@return string[]|nil names
---@return table|nil err
function Backend:names()
  local entries, err = self.root:list()
  if not entries then
    return nil, err
  end
  local names = {}
  for _, entry in ipairs(entries) do
    local refusal = entry.kind == "directory" and entry.name:sub(1, 1) ~= "." and folder_name.refusal(entry.name)
    if refusal and not self.told[entry.name] then
      self.told[entry.name] = true
      host.log("warning", "queue.failed", { queue = folder_name.printable(entry.name), reason = refusal })
    elseif refusal == nil then
      names[#names + 1] = entry.name
    end
  end
  return names
end

local function open_queue(backend, queue)
  local err
  queue.claims, err = folder_runs.claims_on(backend.runs, queue.name, queue.dir)
  if not queue.claims then
    return nil, err
  end
  queue.lock, err = lock.new({
    dir = queue.dir,
    records = backend.runs.dir,
    queue = queue.name,
    stale_ms = backend.stale_lock_ms,
  })
  local ok
  if queue.lock then
    ok, err = backend.watch:add(queue.dir)
  end
  if not ok then
    queue.claims:close()
  end
  return ok, err
end

--- Serves the queue that has this name now. It stays that folder, whatever gets the name later.
---@param name string
---@return table|nil queue
---@return table|nil err queue.name for a name that can not be served; queue.gone when there is none
function Backend:open(name)
  local refusal = folder_name.refusal(name)
  if refusal then
    return nil, errors.new("queue.name", ("queue %s: %s"):format(folder_name.printable(name), refusal))
  end
  local dir, err = self.root:open(name)
  if not dir then
    local code = (err.code == "file.not_found" or err.code == "file.not_directory") and "queue.gone" or err.code
    return nil, errors.new(code, ("queue %s: %s"):format(name, err.message))
  end
  local queue = setmetatable({
    name = name,
    backend = "folder",
    backend_state = self,
    dir = dir,
    unanswered = 0,
    quiet_until = 0,
    closing = false,
  }, Queue)
  local ok
  ok, err = open_queue(self, queue)
  if not ok then
    dir:close()
    return nil, errors.wrap(err, "queue " .. name)
  end
  self.queues[queue] = true
  return queue
end

--- Waits until something may have changed in a folder, at most ms. Our own claims are changes too.
---@param ms integer
---@return boolean|nil changed false: time is over
---@return table|nil err
function Backend:wait(ms)
  return self.watch:wait(ms)
end

--- Returns the claims of hosts that died, one failure more each. open() has done it; a host that lives long does it
--- now and then. Waits.
---@return true|nil ok
---@return table|nil err
function Backend:return_dead()
  return folder_runs.return_dead(self.runs)
end

--- Gives up the run. Claims that were not answered are left to the next host, and can not be answered here any more.
--- Waits.
---@return true
function Backend:close()
  for queue in pairs(self.queues) do
    close_handles(queue)
  end
  self.watch:close()
  if not folder_runs.close(self.runs) then
    host.log("warning", "queue.failed", { reason = "closed with messages unanswered: the next host returns them" })
  end
  self.root:close()
  return true
end

local function counter()
  local last = 0
  return function()
    last = last + 1
    return last
  end
end

--- Opens the folder that holds the queues, made when it is not there, and returns what dead hosts left. Waits.
---@param options {root: string, run: string, max_message_size: integer, stale_lock_ms: integer?, next_id: function?}
--- next_id() gives ids for deliveries, unique in this host
---@return table|nil backend
---@return table|nil err
function m.open(options)
  local ok, err = host.file.root:make_path(options.root, "0755")
  local root
  if ok then
    root, err = host.file.root:open(options.root .. "/.") -- the folder itself may be reached by a link
  end
  if not root then
    return nil, errors.wrap(err, "queue.folder")
  end
  local runs
  runs, err = folder_runs.open(root, options.run)
  if not runs then
    root:close()
    return nil, errors.wrap(err, "queue.folder " .. options.root)
  end
  runs.stale_lock_ms = options.stale_lock_ms
  local backend = setmetatable({
    root = root,
    runs = runs,
    max_message_size = options.max_message_size,
    stale_lock_ms = options.stale_lock_ms,
    next_id = options.next_id or counter(),
    queues = {},
    told = {},
  }, Backend)
  backend.watch, err = root:watch()
  if not backend.watch then
    folder_runs.close(runs)
    root:close()
    return nil, errors.wrap(err, "queue.folder " .. options.root)
  end
  ok, err = backend:return_dead()
  if not ok then
    host.log("warning", "queue.failed", { reason = "what a dead host left: " .. err.message })
  end
  return backend
end

return m
