-- Takes one event out of a user's history, in one step. columns.lua comes first.
--
-- KEYS[1]  the user's history      ARGV[1]  identity of the event
--
-- The key's lifetime stays; a history that loses its last event goes as a whole. Returns the events removed: 0 or 1.

local stored = redis.call('GET', KEYS[1])
if not stored then
    return 0
end
local kept, unreadable = read(stored)
if not kept then
    return unreadable
end
local event = find(kept, ARGV[1])
if not event then
    return 0
end
if kept.count == 1 then
    redis.call('DEL', KEYS[1])
    return 1
end

local timestamp, identity = kept.timestamps + 8 * event, kept.identities + 8 * event
local item = skip(kept, kept.items, event)
redis.call('SET', KEYS[1], table.concat({
    struct.pack('>I4I4', kept.count - 1, kept.day),
    stored:sub(kept.timestamps, timestamp - 1),
    stored:sub(timestamp + 8, identity - 1),
    stored:sub(identity + 8, item - 1),
    stored:sub(skip(kept, item, 1)),
}), 'KEEPTTL')
return 1
