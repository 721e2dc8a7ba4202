-- Puts entries that a process knows back into a log that lost them, as one step. entry.lua comes first.
--
-- KEYS[1]  hash of entries    KEYS[2]  stream of changes    KEYS[3]  hash of facts
-- ARGV[1]  epoch of the log, should it have none            ARGV[2]  highest moment that is known to have passed
-- ARGV[3]  changes that the stream keeps                   ARGV[4]  highest sequence that is known to be given
-- ARGV[5]  1: also what was dropped, by a compaction
-- then of each entry: item id, value
--
-- An entry counts where the log has no newer one, and has not dropped it. Returns the log's epoch.

redis.call('HSETNX', KEYS[3], 'epoch', ARGV[1])
local last = math.max(tonumber(redis.call('HGET', KEYS[3], 'sequence') or '0'), tonumber(ARGV[4]))
local compacted = tonumber(redis.call('HGET', KEYS[3], 'compacted') or '0')
local changed = false
for i = 6, #ARGV, 2 do
    local own = parsed(ARGV[i + 1]).sequence
    local known = redis.call('HGET', KEYS[1], ARGV[i])
    local dropped = not known and own <= compacted and ARGV[5] == '0'
    if not dropped and parsed(known).sequence < own then
        redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
        changed = true
    end
    last = math.max(last, own)
end
redis.call('HSET', KEYS[3], 'sequence', string.format('%d', last))
local passed = tonumber(redis.call('HGET', KEYS[3], 'passed_ms') or '0')
if tonumber(ARGV[2]) > passed then
    redis.call('HSET', KEYS[3], 'passed_ms', ARGV[2])
end
if changed then
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'sequence', '0')
end
return redis.call('HGET', KEYS[3], 'epoch')
