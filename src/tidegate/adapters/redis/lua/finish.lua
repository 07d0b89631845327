-- What has changed is written, each key once; then the reply.

local names_woken = rest and rest.woken() or {}

-- Return for how long a key is made: for as long as its level can decide anything, and some time
-- more, in which it takes new levels as it is. That costs half of making it anew.
local function lifetime_us(rule, level, at)
  local kind, least = rule[1], rule[11]
  if kind == STOCK then return level > 0 and LEVELS_US or IDLE_US end
  if kind == RATE and level > rule[2] then
    -- A level that was charged beyond its ceiling drains for longer than a full one.
    least = math.max(least, quotient_up(level, rule[4]))
  end
  least = (least > 0 and least or LEVELS_US) + (at - now)
  return least + (least < SLACK_US and least or SLACK_US)
end

local lasting = {}
for c, rule in pairs(D) do
  local kind, level, until_us, enough = rule[1], V[c], U[c], false
  if until_us and not W[c] then
    local left_us = until_us - now
    if kind == RATE then
      enough = level <= left_us * rule[4]
    elseif kind == WINDOW then
      enough = left_us >= rule[11] and rule[11] > 0
    elseif kind == STOCK then
      enough = left_us >= (level > 0 and LEVELS_US - REFRESH_US or 0)
      if level == 0 and left_us > IDLE_US then enough = false end
    end
  end
  if enough then
    local at = kind == STOCK and Z[c] or now
    call('SETRANGE', keys[c + 1], '0', spack('<dddd', level, at, rule[3], until_us))
  else
    local life_us = lifetime_us(rule, level, W[c] or now)
    local life_ms = lasting[life_us]
    if not life_ms then
      life_ms = ms(life_us)
      lasting[life_us] = life_ms
    end
    call('SET', keys[c + 1], packed(c, now + life_us), 'PX', life_ms)
  end
end
for c, rule in pairs(E) do
  if not D[c] then
    local value = values[c + 1]
    local level, at = sunpack('<dd', value)
    local life_us = lifetime_us(rule, level, at > now and at or now)
    local changed = {value:sub(1, 24), spack('<d', now + life_us), value:sub(33)}
    call('SET', keys[c + 1], table.concat(changed), 'PX', ms(life_us))
  end
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
  call('HSET', META, unpack(words))
  if faded then rest.refresh() end
end
return reply
