-- Every store passes the same tests: spec/support/store_conformance.lua.
local conformance = require "store_conformance"
local worlds = require "store_worlds"

conformance("of folders", worlds.folder)
