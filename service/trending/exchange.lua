-- Counts events of items with a half-life, and tells all counts, in one step.
--
-- KEYS[1]  sorted set: item → log2 of its count, and the moment that this is of
-- ARGV[1]  items to keep                       ARGV[2]  part of these up to which more are kept
-- ARGV[3]  life of the key in ms               ARGV[4]  half-life in ms
-- ARGV[5]  half-lives that an event counts
-- ARGV[6 …]  an item, and the count to add to it as of now, which may be negative; and so on
--
-- Now is by the clock of Redis: no process's own, which may be wrong, makes the counts of others older.
--
-- The score is log2(count at a moment) + that moment, which stays the same whatever the moment is: an event of
-- the time t has the score t, in half-lives. So nothing overflows, and nothing needs to be scaled.
--
-- Returns {the items, each ended by NUL, their scores, each ended by a blank, now in ms}, the greatest first.

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local moment = now_ms / ARGV[4]
local function log2(value)
    return math.log(value) / math.log(2)
end

for given = 6, #ARGV, 2 do
    local item, count = ARGV[given], tonumber(ARGV[given + 1])
    local score = moment + log2(math.abs(count))
    local kept = redis.call('ZSCORE', KEYS[1], item)
    kept = kept and tonumber(kept) or -math.huge
    local greater = math.max(score, kept)
    local sum = 2 ^ (kept - greater) + (count > 0 and 1 or -1) * 2 ^ (score - greater)
    if sum > 1e-9 then  -- a smaller difference is one of rounding
        redis.call('ZADD', KEYS[1], ('%.17g'):format(greater + log2(sum)), item)
    else
        redis.call('ZREM', KEYS[1], item)
    end
end

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ('(%.17g'):format(moment - ARGV[5]))
local excess = redis.call('ZCARD', KEYS[1]) - ARGV[1]
if excess > ARGV[1] * (ARGV[2] - 1) then
    redis.call('ZREMRANGEBYRANK', KEYS[1], 0, excess - 1)
end
if #ARGV > 5 then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
end

local items, scores = {}, {}
local found = redis.call('ZREVRANGE', KEYS[1], 0, ARGV[1] - 1, 'WITHSCORES')
for index = 1, #found, 2 do
    table.insert(items, found[index] .. '\0')
    table.insert(scores, found[index + 1] .. ' ')
end
return {table.concat(items), table.concat(scores), now_ms}
