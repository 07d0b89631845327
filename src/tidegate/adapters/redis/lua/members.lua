-- Cells that the batch does not name, what members hold, and claim ids.

local index_of
local alive, holders, known_ids, changed_ids = {}, {}, {}, {}

-- Return the number of a cell by its name.
local function cell_named(name)
  if not index_of then
    index_of = {}
    for c = 0, cells_count - 1 do index_of[names[c + 1]] = c end
  end
  local c = index_of[name]
  if not c then
    c, cells_count = cells_count, cells_count + 1
    index_of[name], names[c + 1] = c, name
    values[c + 1] = call('HGET', CELLS, name)
  end
  return c
end

local function is_alive(name)
  if name == member then return true end
  if alive[name] == nil then alive[name] = call('ZSCORE', MEMBERS, name) ~= false end
  return alive[name]
end

-- Give back units that a member holds, but no more than it does.
local function give_back(name, c, units)
  local held, added = H, HD
  if name ~= member then
    local other = holders[name]
    if not other then
      other = {{}, {}}
      holders[name] = other
    end
    held, added = other[1], other[2]
  end
  if not held[c] then
    held[c] = tonumber(call('HGET', P .. 'h:' .. name, names[c + 1]) or '0')
  end
  local mine = held[c] + (added[c] or 0)
  added[c] = (mine > units and mine - units or 0) - held[c]
  lower(c, mine < units and mine or units)
end

-- Return what is known of a claim id: digest, token, member, expiry, whether it has ended, cell,
-- units, ... of what it holds, and whether a retry was told. Nil where it is forgotten.
local function known_id(x)
  local id = known_ids[x]
  if id == nil then
    local value = id_values[x]
    id = value and unpack_all(value)
    known_ids[x] = id
  end
  if not id or id[4] <= now then return nil end
  if not id[5] and not is_alive(id[3]) then
    -- What it held came back when its member died.
    id[5], id[6], changed_ids[x] = true, {}, true
  end
  return id
end

local function put_id(x, digest, token_of, lease_us, held)
  known_ids[x] = {digest, token_of, member, now + lease_us + DEDUP_US, false, held, false}
  changed_ids[x] = true
end

local function end_id(x, token_of, forget)
  local id = known_id(x)
  if not id or id[2] ~= token_of or (forget and id[7]) then return false end
  local live = not id[5]
  if live then
    local held = id[6]
    if is_alive(id[3]) then
      for index = 1, #held, 2 do give_back(id[3], cell_named(held[index]), held[index + 1]) end
    end
    id[4], id[5], id[6], changed_ids[x] = now + DEDUP_US, true, {}, true
  end
  if forget then known_ids[x], changed_ids[x] = false, true end
  return live
end

local function touch_id(x, token_of, lease_us)
  local id = known_id(x)
  if not id or id[2] ~= token_of or id[5] then return false end
  id[4], changed_ids[x] = now + lease_us + DEDUP_US, true
  return true
end

local function adopt(x, digest, token_of, lease_us, first, last)
  if x > 0 and known_id(x) then return false end
  local held = {}
  for index = first, last, 2 do
    local c, units = calls[index], calls[index + 1]
    local amount = stock(c) + units
    V[c], D[c], W[c], Z[c] = amount < MAX and amount or MAX, R[c], nil, now
    HD[c] = (HD[c] or 0) + units
    held[#held + 1], held[#held + 2] = names[c + 1], units
  end
  if token_of > token then token = token_of end
  if x > 0 then put_id(x, digest, token_of, lease_us, held) end
  return true
end

local function save_members()
  for name, held in pairs(holders) do save_held(name, held[1], held[2]) end
  for x in pairs(changed_ids) do
    local id, key = known_ids[x], id_keys[x]
    if id then call('SET', key, pack(id), 'PX', ms(id[4] - now)) else call('DEL', key) end
  end
end

-- Touch what lasts for days, so that it lasts as long as its member.
local function refresh()
  -- A long value, of no cell, makes a hash of few cells as fast as one of many.
  call('HSET', CELLS, '', ('-'):rep(100))
  call('PEXPIRE', CELLS, CELLS_MS)
  call('PEXPIRE', META, MEMBERS_MS)
  call('PEXPIRE', MEMBERS, MEMBERS_MS)
  call('PEXPIRE', QUEUES, MEMBERS_MS)
  call('PEXPIRE', OWN, MEMBERS_MS)
  local mine = P .. 't:' .. member
  call('PEXPIRE', mine, MEMBERS_MS)
  local tickets = call('HKEYS', mine)
  for index = 1, #tickets do
    local cell = unpack_all(tickets[index])
    call('PEXPIRE', P .. 'q:' .. cell, MEMBERS_MS)
    call('PEXPIRE', P .. 'w:' .. cell, MEMBERS_MS)
  end
end
