-- Says what a process serves and knows, as one step, and learns the newest order.
--
-- KEYS[1]  hash of processes    KEYS[2]  sorted set of their deadlines    KEYS[3]  hash of the newest order
-- ARGV[1]  id of the process    ARGV[2]  what it says    ARGV[3]  how long that counts, ms
-- ARGV[4]  moment of the newest order that it knows, 0 for none    ARGV[5]  its version    ARGV[6]  its instead_of
--
-- An order that Redis has lost is brought back. Returns moment, version and instead_of of the newest one.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%d', now))) do
    redis.call('HDEL', KEYS[1], id)
    redis.call('ZREM', KEYS[2], id)
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], string.format('%d', now + ARGV[3]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
if tonumber(ARGV[4]) > (tonumber(redis.call('HGET', KEYS[3], 'moment_ms') or '0') or 0) then
    redis.call('HSET', KEYS[3], 'moment_ms', ARGV[4], 'version', ARGV[5], 'instead_of', ARGV[6])
end
return redis.call('HMGET', KEYS[3], 'moment_ms', 'version', 'instead_of')
