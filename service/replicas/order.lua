-- Orders all replicas to serve a version, as one step: it is the newest order from now on.
--
-- KEYS[1]  hash of the newest order
-- ARGV[1]  moment of the newest order that the caller knows    ARGV[2]  version    ARGV[3]  instead_of
--
-- Returns the order's moment, ms of Redis' clock: later than that of any before.

local time = redis.call('TIME')
local moment = math.max(
    time[1] * 1000 + math.floor(time[2] / 1000),
    (tonumber(redis.call('HGET', KEYS[1], 'moment_ms') or '0') or 0) + 1,
    tonumber(ARGV[1]) + 1
)
local written = string.format('%d', moment)
redis.call('HSET', KEYS[1], 'moment_ms', written, 'version', ARGV[2], 'instead_of', ARGV[3])
return written
