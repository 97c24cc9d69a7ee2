-- What every queue must do: a function that adds its tests, for one backend.
--
-- The backend's world:
--     world = make()                          an empty place
--     world:send(queue, text) -> key_hint     as the client does; makes the queue
--     world:delete(queue)                     as the client does
--     world:host(options?) -> backend         a host of its own; options.max_message_size
--     world:kill(backend)                     what is left of it when its process dies
--     world:aside(queue) -> {{body, reason}…} what was set aside
--     world:close()
local assert = require "luassert"
local busted = require "busted"
local scope = require "scope"

local describe, it = busted.describe, busted.it
local before_each, after_each = busted.before_each, busted.after_each

local function claim(queue)
  return assert(queue:claim())
end

return function(name, make)
  describe("the queue " .. name, function()
    local world, backend

    before_each(function()
      world = make()
      backend = world:host()
    end)

    after_each(function()
      backend:close()
      world:close()
    end)

    local function serve(queue_name, by)
      return assert((by or backend):open(queue_name))
    end

    it("names the queues that are there, sorted", function()
      assert.same({}, backend:names())
      world:send("local_b", "1")
      world:send("local_a", "2")
      assert.same({ "local_a", "local_b" }, backend:names())
    end)

    it("can not open a queue that is not there", function()
      local queue, err = backend:open("local_none")
      assert.is_nil(queue)
      assert.equal("queue.gone", err.code)
    end)

    it("delivers the oldest message first, byte for byte, as a first attempt", function()
      local text = '{"a": "\\u0000ü€", "b": [],\n "c": 1.50}'
      local hint = world:send("q", text)
      world:send("q", "second")
      local queue = serve("q")
      local first, second = claim(queue), claim(queue)
      assert.equal(text, first.body)
      assert.equal(hint, first.key_hint)
      assert.equal("q", first.queue)
      assert.same({ 1, 0, false }, { first.attempt, first.failures, first.redelivered })
      assert.equal("second", second.body)
      assert.are_not.equal(first.id, second.id)
      assert.is_false(queue:claim())
      first:acknowledge()
      second:acknowledge()
      queue:close()
    end)

    it("never shows an acknowledged message again", function()
      world:send("q", "text")
      local queue = serve("q")
      local delivery = claim(queue)
      assert.is_false(delivery:lost())
      assert.equal("acknowledged", delivery:acknowledge())
      assert.is_false(queue:claim())
      assert.same({ ready = 0, others = 0 }, queue:depth())
      queue:close()
      local other = world:host()
      assert.is_false(serve("q", other):claim())
      other:close()
    end)

    it("puts a message that is to be tried again behind all others, with its numbers", function()
      world:send("q", "first")
      local queue = serve("q")
      local delivery = claim(queue)
      world:send("q", "second")
      assert.equal("again", delivery:again({ attempt = 1, failures = 1 }))
      assert.equal("second", claim(queue).body)
      local once_more = claim(queue)
      assert.equal("first", once_more.body)
      assert.same({ 2, 1, true }, { once_more.attempt, once_more.failures, once_more.redelivered })
      queue:close()
    end)

    it("hands a message back to its old place", function()
      world:send("q", "first")
      world:send("q", "second")
      local queue = serve("q")
      local delivery = claim(queue)
      assert.equal("handed_back", delivery:hand_back({ attempt = 1, failures = 0 }))
      local once_more = claim(queue)
      assert.equal("first", once_more.body)
      assert.same({ 2, 0, true }, { once_more.attempt, once_more.failures, once_more.redelivered })
      assert.equal(delivery.added, once_more.added)
      queue:close()
    end)

    it("does not count an attempt that never started", function()
      world:send("q", "text")
      local queue = serve("q")
      local delivery = claim(queue)
      assert.equal("handed_back", delivery:hand_back({ attempt = delivery.attempt - 1, failures = 0 }))
      local once_more = claim(queue)
      assert.same({ 1, 0 }, { once_more.attempt, once_more.failures })
      queue:close()
    end)

    it("keeps what is set aside, with the reason, out of the queue", function()
      world:send("q", "text")
      local queue = serve("q")
      assert.equal("set_aside", claim(queue):set_aside({ reason = "it is no JSON", attempt = 0, failures = 0 }))
      assert.is_false(queue:claim())
      assert.same({ { body = "text", reason = "it is no JSON" } }, world:aside("q"))
      queue:close()
    end)

    it("delivers a message that is too big without its body", function()
      local small = world:host({ max_message_size = 10 })
      world:send("q", "12345678901")
      world:send("q", "1234567890")
      local queue = serve("q", small)
      local delivery = claim(queue)
      assert.is_nil(delivery.body)
      assert.equal(11, delivery.size)
      assert.equal("message.too_big", delivery.problem.code)
      assert.equal("set_aside", delivery:set_aside({ reason = "too big", attempt = 0, failures = 0 }))
      assert.equal("12345678901", world:aside("q")[1].body)
      assert.equal("1234567890", claim(queue).body)
      queue:close()
      small:close()
    end)

    it("refuses a second answer", function()
      world:send("q", "text")
      local queue = serve("q")
      local delivery = claim(queue)
      delivery:acknowledge()
      for _, answer in ipairs({ "acknowledge", "again", "hand_back", "set_aside" }) do
        assert.has_error(function()
          delivery[answer](delivery, { attempt = 1, failures = 0, reason = "r" })
        end)
      end
      queue:close()
    end)

    it("says lost to every answer once the queue is deleted, and touches no queue that is made after it", function()
      for i = 1, 4 do
        world:send("q", tostring(i))
      end
      local queue = serve("q")
      local held = { claim(queue), claim(queue), claim(queue), claim(queue) }
      assert.is_false(queue:gone())
      world:delete("q")
      world:send("q", "of another life")
      assert.is_true(queue:gone())
      assert.is_true(held[1]:lost())
      assert.equal("lost", held[1]:acknowledge())
      assert.equal("lost", held[2]:again({ attempt = 1, failures = 0 }))
      assert.equal("lost", held[3]:hand_back({ attempt = 1, failures = 0 }))
      assert.equal("lost", held[4]:set_aside({ reason = "r", attempt = 1, failures = 0 }))
      local delivery, err = queue:claim()
      assert.is_nil(delivery)
      assert.equal("queue.gone", err.code)
      queue:close()
      local next_life = serve("q")
      assert.equal("of another life", claim(next_life).body)
      assert.is_false(next_life:claim())
      next_life:close()
      assert.same({}, world:aside("q"))
    end)

    it("counts what is ready, and the consumers that are not ours", function()
      world:send("q", "1")
      world:send("q", "2")
      local queue = serve("q")
      assert.same({ ready = 2, others = 0 }, queue:depth())
      local other = world:host()
      local theirs = serve("q", other)
      assert.same({ ready = 2, others = 1 }, queue:depth())
      claim(theirs):acknowledge()
      assert.same({ ready = 1, others = 1 }, queue:depth())
      theirs:close()
      other:close()
      assert.same({ ready = 1, others = 0 }, queue:depth())
      queue:close()
    end)

    it("gives the messages of a host that died to the next one, as an attempt that failed", function()
      local hint = world:send("q", "text")
      local other = world:host()
      claim(serve("q", other))
      world:kill(other)
      local successor = world:host()
      local queue = serve("q", successor)
      local delivery = claim(queue)
      assert.equal("text", delivery.body)
      assert.equal(hint, delivery.key_hint)
      assert.is_true(delivery.redelivered)
      delivery:acknowledge()
      queue:close()
      successor:close()
    end)

    it("lets many hosts claim at once, and none twice", function()
      local count, hosts, seen = 60, 5, {}
      for i = 1, count do
        world:send("q", tostring(i))
      end
      local function consume()
        local own = world:host()
        local queue = serve("q", own)
        repeat
          local delivery, why = queue:claim()
          assert.is_not_nil(delivery, tostring(why))
          if delivery then
            seen[delivery.body] = (seen[delivery.body] or 0) + 1
            host.time.sleep(1) -- the others' turn
            assert.equal("acknowledged", delivery:acknowledge())
          end
        until not delivery
        queue:close()
        return own:close()
      end
      local consumers = {}
      for i = 1, hosts do
        consumers[i] = consume
      end
      assert(scope.all(consumers))
      for i = 1, count do
        assert.equal(1, seen[tostring(i)])
      end
    end)

    it("wakes who waits when a message comes", function()
      world:send("q", "1")
      local queue = serve("q")
      claim(queue):acknowledge()
      while backend:wait(0) do -- what came before
        assert(true)
      end
      assert(scope.run(function(s)
        local waiter = s:start(function()
          return backend:wait(60000)
        end)
        world:send("q", "2")
        assert.is_true(waiter:join())
        return true
      end))
      assert.equal("2", claim(queue).body)
      queue:close()
    end)
  end)
end
