-- One decision over several buckets: all are charged, or none. It runs on one
-- server as one step, by that server's clock, in microseconds: the clocks of
-- those who ask do not matter.
--
-- KEYS     the buckets
-- ARGV[1]  1: take, 0: look
-- then for each bucket: b(ucket that fills) or w(indow), period, burst
--
-- Returns the index of the first exhausted bucket or -1, then for each bucket:
-- calls left, time until the next, time until full.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local refused, debts, answer = -1, {}, {}

local function tell(i, left, retry, reset)
  answer[3 * i - 1], answer[3 * i], answer[3 * i + 1] = math.max(left, 0), math.max(retry, 0), math.max(reset, 0)
end

local function look(i)
  local period, burst = tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
  local span = period * burst
  if ARGV[3 * i - 1] == 'w' then
    local oldest = redis.call('LINDEX', KEYS[i], 0)
    while oldest and tonumber(oldest) <= now - span do
      redis.call('LPOP', KEYS[i])
      oldest = redis.call('LINDEX', KEYS[i], 0)
    end
    local left, retry, reset = burst - redis.call('LLEN', KEYS[i]), 0, 0
    if oldest then
      reset = tonumber(redis.call('LINDEX', KEYS[i], -1)) + span - now
      if left < 1 then retry = tonumber(oldest) + span - now end
    end
    tell(i, left, retry, reset)
    return left > 0
  end
  -- A clock that was set back must not make anybody wait longer than it takes
  -- an empty bucket to fill.
  local debt = math.min(math.max(tonumber(redis.call('GET', KEYS[i]) or now) - now, 0), span)
  debts[i] = debt
  local left = math.floor((span - debt) / period)
  tell(i, left, period - (span - debt), debt)
  return left > 0
end

local function charge(i)
  local period, burst = tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
  if ARGV[3 * i - 1] == 'w' then
    redis.call('RPUSH', KEYS[i], string.format('%.0f', now))
    redis.call('PEXPIRE', KEYS[i], string.format('%.0f', math.ceil(period * burst / 1000) + 1))
    look(i)
    return
  end
  local debt = debts[i] + period
  redis.call('SET', KEYS[i], string.format('%.0f', now + debt), 'PX', string.format('%.0f', math.ceil(debt / 1000) + 1))
  tell(i, math.floor((period * burst - debt) / period), period - (period * burst - debt), debt)
end

for i = 1, #KEYS do
  if not look(i) and refused < 0 then refused = i - 1 end
end
if ARGV[1] == '1' and refused < 0 then
  for i = 1, #KEYS do charge(i) end
end
answer[1] = refused
return answer
