-- Writes after all changes up to one, so that a replica which has this has them. entry.lua is not needed.
--
-- KEYS[1]  hash of facts    ARGV[1]  epoch of the log    ARGV[2]  sequence of the change
--
-- Returns 1; 0 where the log does not have the change, since another Redis took the place of the one that had it.

local facts = redis.call('HMGET', KEYS[1], 'epoch', 'sequence')
if facts[1] ~= ARGV[1] or tonumber(facts[2] or '0') < tonumber(ARGV[2]) then
    return 0
end
redis.call('HSET', KEYS[1], 'confirmed', ARGV[2])
return 1
