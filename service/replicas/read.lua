-- The processes whose words count still: ids and what each says, one after the other.
--
-- KEYS[1]  hash of processes    KEYS[2]  sorted set of their deadlines

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], string.format('(%d', now), '+inf')) do
    found[#found + 1] = id
    found[#found + 1] = redis.call('HGET', KEYS[1], id) or ''
end
return found
