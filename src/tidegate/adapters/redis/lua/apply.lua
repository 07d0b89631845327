-- The calls, in their order. Most are claims of a few rows, and what is given back: they are
-- applied here.

if #dead > 0 then rest.reclaim() end

local state = APPLIED
if stale then state = STALE elseif not known and not hello then state = LOST end
local answers, i = {}, 1
local size = state == APPLIED and #calls or 0

if size > 0 and #given > 0 then
  local wanted = {}
  for index = 1, #given do wanted[index] = names[given[index] + 1] end
  local found = each_part('HMGET', OWN, wanted)
  for index = 1, #given do H[given[index]] = tonumber(found[index] or '0') end
end

-- Return which rows of a claim bring their limit near, each with the units left; nil if none does.
local function near_rows(first, last)
  local near
  for at = first, last, 3 do
    local c, cost = calls[at], calls[at + 2]
    local left = cost > 0 and near_with(c, R[c], cost)
    if left then
      near = near or {}
      near[#near + 1], near[#near + 2] = (at - first) / 3, left
    end
  end
  return near
end

local function costs_of(first, last)
  local costs = {}
  for at = first, last, 3 do costs[#costs + 1] = calls[at + 2] end
  return costs
end

while i <= size do
  local op, answer = calls[i], DONE
  if op == 1 and not queued then
    -- Every row is looked at, then every level rises.
    claims = claims + 1
    local last = i + 1 + 3 * calls[i + 1]
    local refused, longest, room
    for at = i + 2, last, 3 do
      local c, rule, cost = calls[at], rules[calls[at + 1]], calls[at + 2]
      local level = V[c]
      if R[c] ~= rule then level = aged(c, rule) end
      local over = level - rule[2] + cost * rule[3]
      if over > 0 and cost > 0 then
        if rule[10] then
          refused = -1
          break
        end
        local wait_us = wait_of(c, rule, over)
        if not refused or wait_us > longest then
          refused, longest, room = (at - i - 2) / 3, wait_us, room_of(rule, level)
        end
      end
    end
    if not refused then
      local near
      if marks then near = near_rows(i + 2, last) end
      for at = i + 2, last, 3 do
        local c, cost = calls[at], calls[at + 2]
        if cost > 0 then
          local rule = R[c]
          V[c], D[c] = V[c] + cost * rule[3], rule
          if rule[1] == STOCK then HD[c], Z[c] = (HD[c] or 0) + cost, W[c] or now end
        end
      end
      token = (token > now and token or now) + 1
      answer = {1, token}
      if near then answer[3], answer[4] = costs_of(i + 2, last), near end
      i = last + 1
    elseif refused >= 0 then
      answer, i = {3, refused, room, longest}, last + 1
    else
      claims = claims - 1
      answer, i = rest[1](i)
    end
  elseif op == 2 then
    local last = i + 1 + 2 * calls[i + 1]
    for at = i + 2, last, 2 do
      local c, units = calls[at], calls[at + 1]
      local held, own = H[c], R[c]
      local mine = held + (HD[c] or 0)
      HD[c] = (mine > units and mine - units or 0) - held
      if mine < units then units = mine end
      if own and own[1] == STOCK then
        local left = V[c] - units
        V[c], D[c], freed[c] = left > 0 and left or 0, own, true
      else
        lower(c, units)
      end
    end
    i = last + 1
  else
    answer, i = rest[op](i)
  end
  answers[#answers + 1] = answer
end
