-- The calls of each kind, by its number: each returns its answer, and where the next one begins.

local function put_back(c, rule, units, taken_at)
  local kind, at = rule[1], W[c] or now
  if kind == WINDOW then
    if taken_at < (at < rule[6] and rule[5] or rule[6]) then return end
  elseif kind == COUNTER then
    local length, older = rule[8], Z[c]
    local left = length - fmod(at, length)
    local amount = (V[c] - (older or 0) * left) / length
    local turns = quotient(at, length) - quotient(taken_at, length)
    if turns == 1 and older then
      older = older > units and older - units or 0
    elseif turns <= 0 then
      amount = amount > units and amount - units or 0
    end
    Z[c], V[c] = older, amount * length + (older or 0) * left
    return
  elseif kind == LOG then
    log_taken(c)
    local log, kept, left = Z[c], {}, V[c]
    for index = 1, #log, 16 do
      local from, size = sunpack('<dd', log, index)
      if from >= taken_at then
        local back = units < size and units or size
        size, units, left = size - back, units - back, left - back
      end
      if size > 0 then kept[#kept + 1] = spack('<dd', from, size) end
    end
    Z[c], V[c], ZV[c] = table.concat(kept), left, left
    return
  end
  local left = V[c] - units * rule[3]
  V[c] = left > 0 and left or 0
end

local function adjust(c, rule, units, taken_at)
  if R[c] ~= rule then aged(c, rule) end
  if units >= 0 then
    local level = V[c] + units * rule[3]
    V[c] = level <= MAX and level or level - rule[3] * quotient_up(level - MAX, rule[3])
  else
    put_back(c, rule, -units, taken_at)
    freed[c] = true
  end
  D[c] = rule
  if rule[1] == STOCK then Z[c] = W[c] or now end
end

local function write(c, rule, units)
  local level = units * rule[3]
  V[c], R[c], D[c], W[c], freed[c] = level < MAX and level or MAX, rule, rule, nil, true
  if rule[1] == LOG then Z[c], ZV[c] = '', 0 else Z[c] = rule[1] == STOCK and now or nil end
end

local function look(first, last)
  local levels, size = {}, 0
  for index = first, last do
    local c = calls[index]
    settle(c)
    local value = values[c + 1]
    if value then
      levels[size + 1], levels[size + 2], levels[size + 3] = sunpack('<ddd', value)
      levels[size + 4] = (#value - 32) / 8
      size = size + 4
      for at = 33, #value, 8 do
        size = size + 1
        levels[size] = sunpack('<d', value, at)
      end
    else
      levels[size + 1], levels[size + 2], levels[size + 3], levels[size + 4] = 0, 0, 1, 0
      size = size + 4
    end
  end
  return {5, levels}
end

local function done(whether)
  return whether and DONE or NOT_DONE
end

-- What the short ways need of all this.
local kinds = {reclaim = reclaim, refresh = refresh, woken = woken}

kinds[1] = function(i)
  return admit(i + 2, calls[i + 1], true, 0, '', 0, '')
end

kinds[3] = function(i)
  return admit(i + 6, calls[i + 5], false, calls[i + 1], calls[i + 2], calls[i + 3], calls[i + 4])
end

kinds[4] = function(i)
  return done(end_id(calls[i + 1], calls[i + 2], calls[i + 3])), i + 4
end

kinds[5] = function(i)
  return done(touch_id(calls[i + 1], calls[i + 2], calls[i + 3])), i + 4
end

kinds[6] = function(i)
  adjust(calls[i + 1], rules[calls[i + 2]], calls[i + 3], calls[i + 4])
  return DONE, i + 5
end

kinds[7] = function(i)
  local last = i + 1 + calls[i + 1]
  return look(i + 2, last), last + 1
end

kinds[8] = function(i)
  write(calls[i + 1], rules[calls[i + 2]], calls[i + 3])
  return DONE, i + 4
end

kinds[9] = function(i)
  local last = i + 5 + 2 * calls[i + 5]
  local done_now = adopt(calls[i + 1], calls[i + 2], calls[i + 3], calls[i + 4], i + 6, last)
  return done(done_now), last + 1
end

kinds[10] = function(i)
  local cell, rule, cost = calls[i + 1], rules[calls[i + 2]], calls[i + 3]
  wait(cell, rule, cost, calls[i + 4], calls[i + 5], calls[i + 6])
  queued = true
  return DONE, i + 7
end

kinds[11] = function(i)
  return done(leave(calls[i + 1], calls[i + 2])), i + 3
end

kinds[12] = function(i)
  return done(fits(calls[i + 1], calls[i + 2])), i + 3
end

function kinds.save()
  save_members()
  save_queues()
end

return kinds
