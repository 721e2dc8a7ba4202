-- Drops entries that nothing follows from any more, as one step. entry.lua comes first.
--
-- KEYS[1]  hash of entries    KEYS[2]  stream of changes    KEYS[3]  hash of facts
-- ARGV[1]  epoch that the caller knows of the log           ARGV[2]  changes that the stream keeps
-- then of each entry: item id, sequence
--
-- One that is newer by now stays. Returns the ids of those that were dropped; an error EPOCH where the log is
-- another one than the caller knows.

if redis.call('HGET', KEYS[3], 'epoch') ~= ARGV[1] then
    return redis.error_reply('EPOCH the log is another one')
end
local compacted = tonumber(redis.call('HGET', KEYS[3], 'compacted') or '0')
local dropped = {}
for i = 3, #ARGV, 2 do
    local sequence = tonumber(ARGV[i + 1])
    if parsed(redis.call('HGET', KEYS[1], ARGV[i])).sequence == sequence then
        redis.call('HDEL', KEYS[1], ARGV[i])
        dropped[#dropped + 1] = ARGV[i]
        compacted = math.max(compacted, sequence)
    end
end
if #dropped > 0 then
    redis.call('HSET', KEYS[3], 'compacted', string.format('%d', compacted))
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'sequence', '0')
end
return dropped
