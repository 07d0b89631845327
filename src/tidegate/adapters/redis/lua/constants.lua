-- What both halves of the script have at hand: a function of Lua may refer to 60 outer names only.

local call, pack, unpack_all = redis.call, cmsgpack.pack, cmsgpack.unpack
local spack, sunpack, fmt, fmod = struct.pack, struct.unpack, string.format, math.fmod

local RATE, WINDOW, STOCK, COUNTER, LOG = 0, 1, 2, 3, 4
local MAX = 9007199254740991
local DEDUP_US = 60000000
local STANDING_US = 60000000
local RECLAIMED_MAX = 4
-- What no batch has spoken of for two days vanishes, levels first and members after three: each
-- member that lives touches all of it every six hours.
local CELLS_MS, MEMBERS_MS, REFRESH_US = '172800000', '259200000', 21600000000
-- How long the level of a capacity that nobody holds is kept. Where there are more levels than so
-- many, those that decide nothing any more are looked for: among twice as many as a batch adds, and
-- with every so many batches of a member among some more.
local IDLE_US, SMALL, SWEEP_EVERY, SWEPT = 60000000, 1000, 16, 64
-- What one command may be given: unpack fails near 8000.
local WORDS_MAX = 2000
