-- The levels of cells.
--
-- values[c + 1] is what the store holds: amount, instant, ticks of a unit, until when it decides
-- anything, and what a sliding window remembers besides. V[c] is what the level takes up now by the
-- rule R[c]: it is aged once, however many claims of the batch touch it. W[c] is its instant if
-- that lies ahead of a clock that has stepped back; Z[c] what a sliding window remembers, or when a
-- capacity was last taken; ZV[c] how much of V[c] is in a log already. While D[c] is set, V[c] is
-- newer than values[c + 1], and D[c] is R[c]. E[c] is set if a value has changed, but not by V[c].

local V, R, W, Z, ZV, D, E = {}, {}, {}, {}, {}, {}, {}
local freed = {}
-- A capacity whose rule nobody has named.
local ANY_STOCK = {STOCK, MAX, 1, 0, 0, 0, 0, 0, -1, false}

local function quotient(over, by)
  return (over - fmod(over, by)) / by
end

local function quotient_up(over, by)
  local rest = fmod(over, by)
  return (over - rest) / by + (rest > 0 and 1 or 0)
end

-- Write down what the batch has taken from an exact window, as one take.
local function log_taken(c)
  local added = V[c] - ZV[c]
  if added > 0 then
    local log, at = Z[c], W[c] or now
    local size = #log
    if size > 0 then
      local last_at, units = sunpack('<dd', log, size - 15)
      if last_at == at then log, added = log:sub(1, size - 16), added + units end
    end
    Z[c] = log .. spack('<dd', at, added)
  end
  ZV[c] = V[c]
end

-- Return a level as the store holds it.
local function packed(c)
  local rule = D[c]
  local kind, at, level, unit = rule[1], W[c] or now, V[c], rule[3]
  if kind == RATE then return spack('<dddd', level, at, unit, at + level / rule[4] + 1) end
  if kind == WINDOW then
    return spack('<dddd', level, at, unit, at < rule[7] and rule[7] or at + rule[7] - rule[6])
  end
  if kind == STOCK then
    return spack('<dddd', level, Z[c], unit, level > 0 and MAX or now + IDLE_US)
  end
  local older, length = Z[c], rule[8]
  if kind == LOG then
    log_taken(c)
    return spack('<dddd', level, at, unit, at + length) .. Z[c]
  end
  if not older then return spack('<dddd', level / length, at, unit, at + 2 * length) end
  level = (level - older * (length - fmod(at, length))) / length
  return spack('<ddddd', level, at, unit, at + 2 * length, older)
end

local function settle(c)
  if D[c] then values[c + 1], D[c], E[c] = packed(c), nil, true end
end

local function aged_window(c, rule, amount, from, at, value)
  local length = rule[8]
  if rule[1] == COUNTER then
    local older = value and #value == 40 and sunpack('<d', value, 33) or nil
    local turns = quotient(at, length) - quotient(from, length)
    if turns ~= 0 then
      older = turns == 1 and amount > 0 and amount or nil
      amount = 0
    end
    Z[c] = older
    return amount * length + (older or 0) * (length - fmod(at, length))
  end
  local first, size = 33, value and #value or 0
  if size < 48 or size % 16 ~= 0 then
    Z[c], ZV[c] = '', 0
    return 0
  end
  while first < size do
    local taken_at, units = sunpack('<dd', value, first)
    if length > at - taken_at then break end
    amount, first = amount - units, first + 16
  end
  Z[c], ZV[c] = value:sub(first), amount
  return amount
end

-- Return what a level takes up now, by a rule.
local function aged(c, rule)
  if D[c] then settle(c) end
  local kind, value = rule[1], values[c + 1]
  local amount, from, unit, at = 0, 0, 1, now
  if value then amount, from, unit = sunpack('<ddd', value) end
  -- In Lua 5.1 it costs a place in a table to set nil where nothing is.
  if from > now then at, W[c] = from, from elseif W[c] then W[c] = nil end
  if kind == RATE then
    if unit ~= rule[3] and amount > 0 then
      amount = math.min(quotient_up(amount, unit) * rule[3], MAX)
    end
    amount = amount - rule[4] * (at - from)
    if amount < 0 then amount = 0 end
  elseif kind == WINDOW then
    if from < (at < rule[6] and rule[5] or rule[6]) then amount = 0 end
  elseif kind == STOCK then
    Z[c] = from
  else
    amount = aged_window(c, rule, amount, from, at, value)
  end
  V[c], R[c] = amount, rule
  return amount
end

-- Make V[c] the amount of a capacity, whatever its rule, and return it.
local function stock(c)
  local rule = R[c]
  if rule and rule[1] == STOCK then return V[c] end
  return aged(c, ANY_STOCK)
end

local function lower(c, units)
  local left = stock(c) - units
  V[c], D[c], freed[c] = left > 0 and left or 0, R[c], true
end

local function room_of(rule, level)
  return level < rule[2] and quotient(rule[2] - level, rule[3]) or 0
end

-- Return the units left if a claim that adds `cost` brings the limit near; nil if it does not.
local function near_with(c, rule, cost)
  local level, mark = V[c], rule[11]
  local after = level + cost * rule[3]
  if level < mark and after >= mark then return room_of(rule, after) end
end

local function log_wait(c, rule, over)
  log_taken(c)
  local log = Z[c]
  for index = 1, #log, 16 do
    local at, units = sunpack('<dd', log, index)
    over = over - units
    if over <= 0 then return rule[8] + (at - now) end
  end
  return -1
end

local function counter_wait(c, rule, over, at)
  local length, older = rule[8], Z[c] or 0
  local left = length - fmod(at, length)
  if over <= older * left then return quotient_up(over, older) end
  -- Not within this window: in the next one today's counter is the older one, and fades.
  return left + quotient_up(over - older * left, (V[c] - older * left) / length)
end

-- Sums are taken in an order that keeps each of them small enough to be exact.
-- Return the exact wait until `over` ticks are gone; -1: nobody knows.
local function wait_of(c, rule, over)
  local kind, at = rule[1], W[c] or now
  if kind == RATE then return quotient_up(over, rule[4]) + (at - now) end
  if kind == WINDOW then return (at < rule[6] and rule[6] or rule[7]) - now end
  if kind == COUNTER then return counter_wait(c, rule, over, at) + (at - now) end
  if kind == LOG then return log_wait(c, rule, over) end
  return -1
end

-- What this member holds, by cell: H[c] in the store, HD[c] what the batch adds to it.
local H, HD = {}, {}

-- Write down what a member holds now, and let it last.
local function save_held(name, held, added)
  local key, unknown, wanted, kept, gone = P .. 'h:' .. name, {}, {}, {}, {}
  for c in pairs(added) do
    if not held[c] then unknown[#unknown + 1], wanted[#wanted + 1] = c, names[c + 1] end
  end
  if #wanted > 0 then
    local found = each_part('HMGET', key, wanted)
    for index = 1, #unknown do held[unknown[index]] = tonumber(found[index] or '0') end
  end
  for c, units in pairs(added) do
    local cell = names[c + 1]
    units = units + held[c]
    if units > 0 then
      kept[#kept + 1], kept[#kept + 2] = cell, fmt('%.0f', units)
    else
      gone[#gone + 1] = cell
    end
  end
  if #gone > 0 then each_part('HDEL', key, gone) end
  -- Whatever was there before lasts already.
  if #kept > 0 and each_part('HSET', key, kept) > 0 then call('PEXPIRE', key, MEMBERS_MS) end
end

local DONE, NOT_DONE = {6, true}, {6, false}
-- How many claims there were so far, and whether somebody waits at a cell of the batch.
local claims, queued = 0, false
local queue_at = {}
-- Whether it is time to touch what lasts for days.
local faded = now - fresh_us >= REFRESH_US or fresh_us > now
if had_queues then
  for first = 1, cells_count, WORDS_MAX do
    local last = math.min(first + WORDS_MAX - 1, cells_count)
    local found = call('HMGET', QUEUES, unpack(names, first, last))
    for index = 1, #found do
      queue_at[first + index - 2] = found[index]
      queued = queued or found[index] ~= false
    end
  end
end
