-- What has changed is written, each key once; then the reply.

if queued then rest = rest or open_rest() end
local names_woken = rest and rest.woken() or {}

local lasting = {}

-- Return for how long from now a level can decide anything.
local function matters_us(rule, level, at)
  local kind = rule[1]
  if kind == RATE then return quotient_up(level, rule[4]) + at - now end
  if kind == STOCK then return level > 0 and LEVELS_US - REFRESH_US or 0 end
  return (rule[10] > 0 and rule[10] or LEVELS_US) + at - now
end

-- Return for how long a key is made that is to be there for at least so long: for some time more,
-- in which it takes new levels as it is.
local function lasts_us(rule, least)
  local kind, forget = rule[1], rule[10]
  if kind == STOCK then return least > 0 and LEVELS_US or IDLE_US end
  if forget < least then forget = least end
  return forget + (forget < SLACK_US and forget or SLACK_US)
end

for c, rule in pairs(D) do
  local until_us, least = U[c], matters_us(rule, V[c], W[c] or now)
  local most = lasts_us(rule, least)
  if until_us and rule[1] <= STOCK and until_us >= now + least and until_us <= now + 2 * most then
    call('SETRANGE', keys[c + 1], 0, packed(c, until_us))
  else
    local found = lasting[most]
    if not found then
      found = ms(most)
      lasting[most] = found
    end
    call('SET', keys[c + 1], packed(c, now + most), 'PX', found)
  end
end
for c, rule in pairs(E) do
  if not D[c] then
    local value = values[c + 1]
    local level, at = sunpack('<dd', value)
    local most = lasts_us(rule, matters_us(rule, level, at > now and at or now))
    local changed = {value:sub(1, 24), spack('<d', now + most), value:sub(33)}
    call('SET', keys[c + 1], table.concat(changed), 'PX', ms(most))
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
  local aged_out = now - fresh_us >= REFRESH_US or fresh_us > now
  if aged_out then words[#words + 1], words[#words + 2] = 'f:' .. member, fmt('%.0f', now) end
  call('HSET', META, unpack(words))
  if aged_out then
    rest = rest or open_rest()
    rest.refresh()
  end
end
return reply
