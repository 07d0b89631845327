-- Claims that the short way does not serve: where somebody waits, with a claim id, of a
-- cohort, or where a shadow lets pass what it would have refused.

local people

-- Return tenant, weight and priority of the claim that comes now.
local function person()
  people = people or unpack_all(ARGV[2])
  return people[3 * claims - 2], people[3 * claims - 1], people[3 * claims]
end

-- Return how much the members of a cohort have of each other, and what is passed on to it.
local function lent(row, seen, cost)
  local units, kept = 0, row.child[9]
  for index = row.first, row.last, 2 do
    local theirs = stock(calls[index]) - calls[index + 1]
    if theirs > 0 then units = units + theirs end
  end
  if seen > kept then units = units + seen - kept end
  local after = seen + cost * row.child[3] - kept
  local before = after - cost
  return units, (after > 0 and after or 0) - (before > 0 and before or 0)
end

-- Read the rows of a claim: the short form has but cell, rule and units.
local function rows_of(first, count, short)
  local rows = {}
  for index = 1, count do
    local row = {c = calls[first], rule = rules[calls[first + 1]], asked = calls[first + 2]}
    row.via, first = -1, first + 3
    if not short then
      row.via, row.first = calls[first], first + 2
      first = first + 2 + 2 * calls[first + 1]
      row.last = first - 1
      if row.via >= 0 then row.child = rows[row.via + 1].rule end
    end
    rows[index] = row
  end
  return rows, first
end

-- Decide the rows. Return the refusal, or nil; each row then knows its cost.
local function refusal(rows, tenant, priority, ticket)
  local refused, longest, room
  for index = 1, #rows do
    local row = rows[index]
    local c, rule, level, cost = row.c, row.rule, nil, row.asked
    if row.via >= 0 then
      local child = rows[row.via + 1]
      level, cost = lent(row, child.seen, child.cost)
    else
      level = R[c] == rule and V[c] or aged(c, rule)
      if rule[1] < COUNTER then
        level = level + ahead_of(c, rule, tenant, priority, ticket) * rule[3]
      end
    end
    local over = level - rule[2] + cost * rule[3]
    if cost > 0 and over > 0 then
      if rule[10] then
        cost = 0
      else
        local wait_us = row.via >= 0 and -1 or wait_of(c, rule, over)
        if not refused or wait_us > longest then
          refused, longest, room = index - 1, wait_us, room_of(rule, level)
        end
      end
    end
    row.seen, row.cost = level, cost
  end
  return refused and {3, refused, room, longest}
end

-- Decide a claim; return the answer, and where the next call begins.
local function admit(first, count, short, x, digest, lease_us, ticket)
  claims = claims + 1
  local rows, beyond = rows_of(first, count, short)
  local id = x > 0 and known_id(x)
  if id then
    if id[1] ~= digest then return {4}, beyond end
    if not id[7] then id[7], changed_ids[x] = true, true end
    return {2, id[2], id[3], id[4], id[5]}, beyond
  end
  local tenant, weight, priority = person()
  local refused = refusal(rows, tenant, priority, ticket)
  if refused then return refused, beyond end
  local held, costs, differ, near = {}, {}, false, {}
  for index = 1, count do
    local row = rows[index]
    local c, rule, cost = row.c, row.rule, row.cost
    costs[index], differ = cost, differ or cost ~= row.asked
    if row.via < 0 and cost > 0 then
      local left = rule[11] and near_with(c, rule, cost)
      if left then near[#near + 1], near[#near + 2], differ = index - 1, left, true end
      V[c], D[c] = V[c] + cost * rule[3], rule
      if rule[1] == STOCK then
        HD[c], Z[c] = (HD[c] or 0) + cost, W[c] or now
        held[#held + 1], held[#held + 2] = names[c + 1], cost
      end
      serve(c, tenant, weight, cost, ticket)
    end
  end
  token = (token > now and token or now) + 1
  if x > 0 then put_id(x, digest, token, lease_us, held) end
  return {1, token, differ and costs or nil, near[1] and near}, beyond
end

-- Take back what dead members held, and forget their tickets.
local function reclaim()
  for index = 1, #dead do
    local name = dead[index]
    local held = call('HGETALL', P .. 'h:' .. name)
    for at = 1, #held, 2 do lower(cell_named(held[at]), tonumber(held[at + 1])) end
    local tickets = call('HGETALL', P .. 't:' .. name)
    for at = 1, #tickets, 2 do
      local c = cell_named((unpack_all(tickets[at])))
      local queue = queue_of(c)
      if queue then
        take_out(c, queue, tickets[at + 1])
        freed[c] = true
      end
    end
    call('DEL', P .. 'h:' .. name, P .. 't:' .. name)
    call('ZREM', MEMBERS, name)
    call('HDEL', META, 's:' .. name, 'r:' .. name, 'f:' .. name)
    if name == member then known, fresh_us = false, 0 end
  end
end
