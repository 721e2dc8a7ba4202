-- Drops a user's events up to a moment, in one step. columns.lua comes first.
--
-- KEYS[1]  the user's history      ARGV[1]  the moment, as events' timestamps
--
-- The key's lifetime stays; a history that loses all events goes as a whole. Returns the events dropped.

local stored = redis.call('GET', KEYS[1])
if not stored then
    return 0
end
local kept, unreadable = read(stored)
if not kept then
    return unreadable
end
local older = not_after(kept, tonumber(ARGV[1]))
if older == 0 then
    return 0
end
if older == kept.count then
    redis.call('DEL', KEYS[1])
    return older
end

redis.call('SET', KEYS[1], table.concat({
    struct.pack('>I4I4', kept.count - older, kept.day),
    stored:sub(kept.timestamps + 8 * older, kept.identities - 1),
    stored:sub(kept.identities + 8 * older, kept.items - 1),
    stored:sub(skip(kept, kept.items, older)),
}), 'KEEPTTL')
return older
