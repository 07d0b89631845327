-- What has changed is written, each key once; then the reply.

if queued then rest = rest or open_rest() end
local names_woken = rest and rest.woken() or {}

local lasting = {}

-- Return for how many milliseconds a level can still decide anything.
local function lasts(rule, level, at)
  local kind, forget = rule[1], rule[10]
  if kind == STOCK then return level > 0 and LEVELS_MS or ms(0) end
  if forget == 0 then return LEVELS_MS end
  if at > now or (kind == RATE and level > rule[2]) then
    -- A level that was charged beyond its ceiling drains for longer than a full one.
    if kind == RATE then forget = math.max(forget, quotient_up(level, rule[4])) end
    return ms(forget + at - now)
  end
  local found = lasting[rule]
  if not found then
    found = ms(forget)
    lasting[rule] = found
  end
  return found
end

for c, rule in pairs(D) do
  call('SET', keys[c + 1], packed(c), 'PX', lasts(rule, V[c], W[c] or now))
end
for c, rule in pairs(E) do
  if not D[c] then
    local value = values[c + 1]
    local level, at = sunpack('<dd', value)
    call('SET', keys[c + 1], value, 'PX', lasts(rule, level, at > now and at or now))
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
