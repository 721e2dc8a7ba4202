-- Stores changes of the catalogue, as one step. entry.lua comes first.
--
-- KEYS[1]  hash of entries    KEYS[2]  stream of changes    KEYS[3]  hash of facts
-- ARGV[1]  epoch that the caller knows of the log           ARGV[2]  changes that the stream keeps
-- ARGV[3]  highest sequence of the log with which this is stored; empty: any
-- then of each change: item id, description, origin, 1 where the origin is only for an item without one
--
-- Returns the values stored; the log's sequence, nothing being stored, where it is higher; an error EPOCH where the log is another one than the caller knows.

if redis.call('HGET', KEYS[3], 'epoch') ~= ARGV[1] then
    return redis.error_reply('EPOCH the log is another one')
end
local last = tonumber(redis.call('HGET', KEYS[3], 'sequence') or '0')
if ARGV[3] ~= '' and last > tonumber(ARGV[3]) then
    return last
end
local values = {}
for i = 4, #ARGV, 4 do
    local item, description, origin, keep = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
    local sequence = redis.call('HINCRBY', KEYS[3], 'sequence', 1)
    local known = parsed(redis.call('HGET', KEYS[1], item))
    local removed, given = '0', sequence
    if description == '' then
        removed, description, origin, given = '1', known.description, known.origin, known.given
    elseif keep == '1' and known.removed == '0' and known.origin ~= '' then
        origin, given = known.origin, known.given
    end
    local value = joined(sequence, removed, given, description, origin)
    redis.call('HSET', KEYS[1], item, value)
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'sequence', sequence, 'item', item)
    values[#values + 1] = value
end
return values
