-- What has changed is written, all levels at once; then the reply.

local names_woken = rest and rest.woken() or {}

local changed, words_count = {}, 0
for c in pairs(D) do
  changed[words_count + 1], changed[words_count + 2] = names[c + 1], packed(c)
  words_count = words_count + 2
end
for c in pairs(E) do
  if not D[c] then
    changed[words_count + 1], changed[words_count + 2] = names[c + 1], values[c + 1]
    words_count = words_count + 2
  end
end
local added = words_count > 0 and each_part('HSET', CELLS, changed) or 0

-- Look at about so many levels, in turn, and remove those that decide nothing.
local function sweep(count)
  local found = call('HSCAN', CELLS, call('HGET', META, 'sweep') or '0', 'COUNT', count)
  local list, gone = found[2], {}
  for index = 1, #list, 2 do
    if list[index] ~= '' and sunpack('<d', list[index + 1], 25) <= now then
      gone[#gone + 1] = list[index]
    end
  end
  if #gone > 0 then each_part('HDEL', CELLS, gone) end
  return found[1]
end

if next(HD) then save_held(member, H, HD) end
if rest then rest.save() end

local reply = pack(#names_woken > 0 and {now, state, answers, names_woken} or {now, state, answers})
if state == APPLIED then
  local expires = now + ttl_us
  call('ZADD', MEMBERS, fmt('%.0f', expires), member)
  if due <= now then
    due = tonumber(call('ZRANGE', MEMBERS, 0, 0, 'WITHSCORES')[2])
  elseif expires < due then
    due = expires
  end
  local words = {'token', fmt('%.0f', token), 'due', fmt('%.0f', due)}
  if seq > 0 then
    words[5], words[6], words[7], words[8] = 's:' .. member, fmt('%.0f', seq), 'r:' .. member, reply
  elseif not known then
    words[5], words[6] = 's:' .. member, '0'
  end
  if faded then words[#words + 1], words[#words + 2] = 'f:' .. member, fmt('%.0f', now) end
  local swept = 2 * added + (fmod(seq, SWEEP_EVERY) == 0 and SWEPT or 0)
  if swept > 0 and call('HLEN', CELLS) > SMALL then
    words[#words + 1], words[#words + 2] = 'sweep', sweep(swept)
  end
  call('HSET', META, unpack(words))
  if faded then rest.refresh() end
end
return reply
