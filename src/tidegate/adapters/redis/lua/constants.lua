-- What both halves of the script have at hand: a function of Lua may refer to 60 outer names only.

local call, pack, unpack_all = redis.call, cmsgpack.pack, cmsgpack.unpack
local spack, sunpack, fmt, fmod = struct.pack, struct.unpack, string.format, math.fmod

local RATE, WINDOW, STOCK, COUNTER, LOG = 0, 1, 2, 3, 4
local MAX = 9007199254740991
local DEDUP_US = 60000000
local STANDING_US = 60000000
local RECLAIMED_MAX = 4
-- Levels of capacities last two days and members three, unless somebody touches them: each member
-- that lives does so every six hours. What nobody speaks of any more vanishes, levels first; one of
-- zero after a minute. Other levels get up to an hour more than they need.
local LEVELS_US, LEVELS_MS, MEMBERS_MS = 172800000000, '172800000', '259200000'
local REFRESH_US, IDLE_US, SLACK_US = 21600000000, 60000000, 3600000000
-- What one command may be given: unpack fails near 8000.
local WORDS_MAX = 2000
