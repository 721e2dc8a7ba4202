-- Takes one event out of a user's history, in one step. columns.lua comes first.
--
-- KEYS[1]  the user's history      ARGV[1]  identity of the event
--
-- The key's lifetime stays; a history that loses its last event goes as a whole. Returns the event that was removed
-- as {timestamp, item}; {}: none was.

local stored = redis.call('GET', KEYS[1])
if not stored then
    return {}
end
local kept, unreadable = read(stored)
if not kept then
    return unreadable
end
local event = find(kept, ARGV[1])
if not event then
    return {}
end
local item = skip(kept, kept.items, event)
local after = skip(kept, item, 1)
local removed = {timestamp_at(kept, event), stored:sub(item, after - 2)}
if kept.count == 1 then
    redis.call('DEL', KEYS[1])
    return removed
end

local timestamp, identity = kept.timestamps + 8 * event, kept.identities + 8 * event
redis.call('SET', KEYS[1], table.concat({
    struct.pack('>I4I4', kept.count - 1, kept.day),
    stored:sub(kept.timestamps, timestamp - 1),
    stored:sub(timestamp + 8, identity - 1),
    stored:sub(identity + 8, item - 1),
    stored:sub(after),
}), 'KEEPTTL')
return removed
