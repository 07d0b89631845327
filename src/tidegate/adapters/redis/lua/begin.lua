-- One batch of one member, applied in one step. The rule is domain/shared.handle; this says it
-- again for a server, and a test compares the two, reply by reply.
--
-- KEYS[1]  what the names of all keys begin with; its hash tag puts them into one slot
-- ARGV[1]  MessagePack: member, seq, ttl_us, hello, now_us, rules (flat), cells, calls (flat),
--          whether they are claims and returns alone, claim ids, the cells that are given back, and
--          where somebody listens, from which level on each rule is near
-- ARGV[2]  MessagePack: tenant, weight, priority of each Admit; read only where somebody waits
--
-- Numbers are doubles, and exact below 2^53. `..` and tostring print only 14 digits of them, so
-- `..` joins nothing but texts. A quotient may come out as the next whole number; fmod is exact.

local APPLIED, LOST, STALE = 0, 1, 2

local P = KEYS[1]
local META, MEMBERS, QUEUES = P .. 'meta', P .. 'members', P .. 'queues'
local CELLS = P .. 'cells'
local member, seq, ttl_us, hello, now, rule_words, names, calls, plain, ids, given, marks =
  unpack_all(ARGV[1])
local OWN = P .. 'h:' .. member

-- Instants that a test gives do not move the clock by which the server forgets.
local spare_ms = 600000
if now == 0 then
  local time = call('TIME')
  now, spare_ms = tonumber(time[1]) * 1000000 + tonumber(time[2]), 1000
end

-- Of the member: its last batch, and when it touched what lasts for days. Nobody dies before `due`.
local meta = call('HMGET', META, 'token', 'queues', 's:' .. member, 'f:' .. member, 'due')
local last_seq, fresh_us = meta[3] and tonumber(meta[3]), tonumber(meta[4] or '0')
local known, had_queues = last_seq and true, meta[2] and meta[2] ~= '0'
if known and seq > 0 and seq <= last_seq then
  if seq == last_seq then return call('HGET', META, 'r:' .. member) end
  return pack({now, LOST})
end
local token, due = tonumber(meta[1] or '0'), tonumber(meta[5] or '0')
local dead = {}
if due <= now then
  dead = call('ZRANGEBYSCORE', MEMBERS, '-inf', fmt('%.0f', now), 'LIMIT', 0, RECLAIMED_MAX)
end

local function ms(us)
  return fmt('%.0f', (us - fmod(us, 1000)) / 1000 + 1 + spare_ms)
end

-- Call a command with many words, a part at a time; return what all parts return: lists as one,
-- numbers as their sum.
local function each_part(command, key, words)
  local size = #words
  if size <= WORDS_MAX then return call(command, key, unpack(words)) end
  local found, sum = {}, 0
  for first = 1, size, WORDS_MAX do
    local part = call(command, key, unpack(words, first, math.min(first + WORDS_MAX - 1, size)))
    if type(part) == 'number' then
      sum = sum + part
    else
      for index = 1, #part do found[#found + 1] = part[index] end
    end
  end
  return #found > 0 and found or sum
end

-- The first cell has the number 0, as in the batch; the first claim id has 1.
local cells_count, id_keys, id_values = #names, {}, {}
local values = cells_count > 0 and each_part('HMGET', CELLS, names) or {}
for x = 1, #ids do id_keys[x] = P .. 'i:' .. ids[x] end
for first = 1, #ids, WORDS_MAX do
  local found = call('MGET', unpack(id_keys, first, math.min(first + WORDS_MAX - 1, #ids)))
  for index = 1, #found do id_values[first + index - 1] = found[index] end
end

-- A rule is kind, ceiling, unit, drain, three window starts, length, kept, shadow, and its mark, if
-- it has one. The first one has the number 0, too.
local rules, stale = {}, false
for index = 1, #rule_words, 10 do
  local rule = {unpack(rule_words, index, index + 9)}
  rules[(index - 1) / 10] = rule
  if marks then rule[11] = marks[(index + 9) / 10] end
  if rule[1] == WINDOW and (now < rule[5] or now >= rule[7]) then stale = true end
  if rule[10] then plain = false end
end
