-- Every queue passes the same tests: spec/support/queue_conformance.lua.
local conformance = require "queue_conformance"
local worlds = require "queue_worlds"

conformance("of folders", worlds.folder)
