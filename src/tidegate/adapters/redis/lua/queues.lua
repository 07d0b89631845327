-- Who waits at a cell.
--
-- q:<cell>    a sorted set of tickets in their order, all of score 0: start, urgency, arrival and
--             cost as big-endian doubles, which sort as bytes, then member, tenant, name and rule
-- w:<cell>    a hash: t<ticket> the entry above, s<tenant> how much it was served there by weight,
--             q what an empty queue leaves behind: clock, newest arrival, since when it is empty
-- t:<member>  a hash: cell and tenant to the entry, for when the member dies
-- queues      a hash: the cells with tickets, to their clock and newest arrival
--
-- A queue here is as much of its beginning as somebody had to look at: n tickets, by start S,
-- urgency U, arrival A, cost C, entry B; T is the sum of the costs up to and with each.

local NEUTRAL = 2147483648
local CHUNK = 64

local changed_queues = {}

local function new_queue(clock, newest)
  return {clock = clock, newest = newest, served = {}, n = 0, empty = now,
    S = {}, U = {}, A = {}, C = {}, B = {}, T = {[0] = 0}}
end

-- Return the queue at a cell, or false if there is none.
local function queue_of(c)
  local queue = queue_at[c]
  if type(queue) == 'table' then return queue end
  if queue == nil then queue = had_queues and call('HGET', QUEUES, names[c + 1]) end
  queue = queue and new_queue(sunpack('<dd', queue))
  queue_at[c] = queue
  return queue
end

local function load_more(c, queue)
  local n, S, U, A, C, B, T = queue.n, queue.S, queue.U, queue.A, queue.C, queue.B, queue.T
  local found = call('ZRANGE', P .. 'q:' .. names[c + 1], n, n + CHUNK - 1)
  for index = 1, #found do
    local i, entry = n + index, found[index]
    S[i], U[i], A[i], C[i] = sunpack('>dddd', entry)
    B[i], T[i] = entry, T[i - 1] + C[i]
  end
  queue.n, queue.all = n + #found, #found < CHUNK
end

local function has_tickets(c, queue)
  if queue.n == 0 and not queue.all then load_more(c, queue) end
  return queue.n > 0
end

-- Whether ticket i comes no later than somebody who stands there.
local function is_before(queue, i, start, urgency, arrived)
  local S, U = queue.S[i], queue.U[i]
  if S ~= start then return S < start end
  if U ~= urgency then return U < urgency end
  return queue.A[i] <= arrived
end

-- Return how many tickets come no later than somebody who stands there, as far as their costs
-- matter: beyond `enough` nobody has to look.
local function count_before(c, queue, start, urgency, arrived, enough)
  while not queue.all and queue.T[queue.n] < enough
    and (queue.n == 0 or is_before(queue, queue.n, start, urgency, arrived)) do
    load_more(c, queue)
  end
  local low, high = 0, queue.n
  while low < high do
    local middle = math.ceil((low + high) / 2)
    local before = is_before(queue, middle, start, urgency, arrived)
    if before then low = middle else high = middle - 1 end
  end
  return low
end

local function start_of(c, queue, tenant)
  local served = queue.served[tenant]
  if not served then
    local found = call('HGET', P .. 'w:' .. names[c + 1], 's' .. tenant)
    served = found and sunpack('<d', found) or 0
    queue.served[tenant] = served
  end
  return served > queue.clock and served or queue.clock
end

local function entry_of(c, ticket)
  return ticket ~= '' and call('HGET', P .. 'w:' .. names[c + 1], 't' .. ticket)
end

-- Return the units that are kept at a cell for those who go before a claim.
local function ahead_of(c, rule, tenant, priority, ticket)
  local queue = queue_of(c)
  if not queue or not has_tickets(c, queue) then return 0 end
  -- Of a rate the wait depends on all of them; otherwise what is full cannot get fuller.
  local enough = rule[1] == RATE and math.huge or rule[2] / rule[3] + 1
  local own = entry_of(c, ticket)
  if own then
    local start, urgency, arrived, cost = sunpack('>dddd', own)
    local count = count_before(c, queue, start, urgency, arrived, enough)
    return queue.T[count] - (queue.B[count] == own and cost or 0)
  end
  local start = start_of(c, queue, tenant)
  return queue.T[count_before(c, queue, start, NEUTRAL - priority, now, enough)]
end

local function sum_from(queue, first)
  local C, T = queue.C, queue.T
  for i = first, queue.n do T[i] = T[i - 1] + C[i] end
end

local function take_out(c, queue, entry)
  local cell = names[c + 1]
  local whose, tenant, ticket = unpack_all(entry:sub(33))
  call('ZREM', P .. 'q:' .. cell, entry)
  call('HDEL', P .. 'w:' .. cell, 't' .. ticket)
  call('HDEL', P .. 't:' .. whose, pack(cell, tenant))
  local start, urgency, arrived = sunpack('>ddd', entry)
  local i = count_before(c, queue, start, urgency, arrived, 0)
  if queue.B[i] == entry then
    local lists = {queue.S, queue.U, queue.A, queue.C, queue.B}
    for index = 1, #lists do table.remove(lists[index], i) end
    queue.n = queue.n - 1
    sum_from(queue, i)
  end
  if not has_tickets(c, queue) then queue.empty = now end
  changed_queues[c] = true
end

local function put_in(c, queue, entry)
  local start, urgency, arrived, cost = sunpack('>dddd', entry)
  local i = count_before(c, queue, start, urgency, arrived, 0) + 1
  call('ZADD', P .. 'q:' .. names[c + 1], 0, entry)
  if i > queue.n and not queue.all then return end
  table.insert(queue.S, i, start)
  table.insert(queue.U, i, urgency)
  table.insert(queue.A, i, arrived)
  table.insert(queue.C, i, cost)
  table.insert(queue.B, i, entry)
  queue.n = queue.n + 1
  sum_from(queue, i)
end

-- Return the queue at a cell for somebody who joins it, with what an empty one remembers.
local function queue_to_join(c)
  local queue = queue_of(c)
  if queue then return queue end
  local left = P .. 'w:' .. names[c + 1]
  local found = call('HGET', left, 'q')
  local clock, newest, empty = 0, 0, 0
  if found then clock, newest, empty = sunpack('<ddd', found) end
  if found and empty + STANDING_US <= now then
    call('DEL', left)
    clock, newest = 0, 0
  end
  queue = new_queue(clock, newest)
  queue.all, queue_at[c] = true, queue
  return queue
end

local function wait(c, rule, cost, ticket, tenant, priority)
  local queue, cell = queue_to_join(c), names[c + 1]
  local waiting, mine = P .. 'w:' .. cell, P .. 't:' .. member
  local old = call('HGET', waiting, 't' .. ticket)
  if old then take_out(c, queue, old) end
  old = call('HGET', mine, pack(cell, tenant))
  if old then take_out(c, queue, old) end
  local newest = queue.newest + 1
  queue.newest = newest > now and newest or now
  local place = spack('>dddd', start_of(c, queue, tenant), NEUTRAL - priority, queue.newest, cost)
  local entry = place .. pack(member, tenant, ticket, rule)
  put_in(c, queue, entry)
  call('HSET', waiting, 't' .. ticket, entry)
  call('HSET', mine, pack(cell, tenant), entry)
  call('PEXPIRE', P .. 'q:' .. cell, MEMBERS_MS)
  call('PEXPIRE', waiting, MEMBERS_MS)
  call('PEXPIRE', mine, MEMBERS_MS)
  changed_queues[c] = true
end

local function leave(c, ticket)
  local queue = queue_of(c)
  local entry = queue and entry_of(c, ticket)
  if not entry then return false end
  take_out(c, queue, entry)
  freed[c] = true
  return true
end

-- Count what a tenant got at a cell where others wait, and take its ticket back.
local function serve(c, tenant, weight, cost, ticket)
  local queue = queue_of(c)
  if not queue or not has_tickets(c, queue) then return end
  local start, own = start_of(c, queue, tenant), entry_of(c, ticket)
  if own then
    start = sunpack('>d', own)
    take_out(c, queue, own)
    if start > queue.clock then queue.clock = start end
    freed[c] = true
  end
  local served = start + cost / weight
  queue.served[tenant], changed_queues[c] = served, true
  call('HSET', P .. 'w:' .. names[c + 1], 's' .. tenant, spack('<d', served))
end

-- Call `visit` with member and name of the first tickets at a cell, while there is room for all.
local function each_fitting(c, visit)
  local queue = queue_of(c)
  local i, units = 1, 0
  while queue do
    if i > queue.n and not queue.all then load_more(c, queue) end
    if i > queue.n then return end
    local whose, _, ticket, rule = unpack_all(queue.B[i]:sub(33))
    units = units + queue.C[i]
    if aged(c, rule) - rule[2] + units * rule[3] > 0 then return end
    visit(whose, ticket)
    i = i + 1
  end
end

local function fits(c, ticket)
  local found = false
  each_fitting(c, function(_, name) found = found or name == ticket end)
  return found
end

-- Return the members with tickets that there is room for at what became freer.
local function woken()
  local seen, list = {}, {}
  for c in pairs(freed) do
    each_fitting(c, function(name)
      if not seen[name] then
        seen[name], list[#list + 1] = true, name
        if name ~= member then call('PUBLISH', P .. 'woken:' .. name, '') end
      end
    end)
  end
  return list
end

local function save_queues()
  for c in pairs(changed_queues) do
    local queue, cell = queue_at[c], names[c + 1]
    local state = spack('<ddd', queue.clock, queue.newest, queue.empty)
    if has_tickets(c, queue) then
      call('HSET', QUEUES, cell, state:sub(1, 16))
    else
      call('HDEL', QUEUES, cell)
      call('HSET', P .. 'w:' .. cell, 'q', state)
      call('PEXPIRE', P .. 'w:' .. cell, ms(STANDING_US))
    end
  end
  if next(changed_queues) then
    call('PEXPIRE', QUEUES, MEMBERS_MS)
    call('HSET', META, 'queues', call('HLEN', QUEUES))
  end
end
