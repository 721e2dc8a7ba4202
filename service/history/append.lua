-- Adds events to one user's history and trims it, in one step.
--
-- KEYS[1]  the user's history      ARGV[1]  events to keep
-- ARGV[2]  life of the key in ms   ARGV[3]  the events, oldest first, no identity twice
--
-- A history is a string of columns (service/history/encoding.py writes the same):
--   count (4 bytes) | count timestamps (8 bytes each) | count identities (8 bytes each) | count items, each ended by NUL
-- so that a repeat is found by one search of the identities and a place in time by bisection of the timestamps.
--
-- Returns {events added, events older than a full history}.

local EMPTY = '\0\0\0\0'

local function columns(history)
    local count = struct.unpack('>I4', history)
    local identities = 5 + 8 * count
    local items = identities + 8 * count
    return count, history:sub(5, identities - 1), history:sub(identities, items - 1), history:sub(items)
end

local function holds(identities, identity)
    local at = identities:find(identity, 1, true)
    while at and at % 8 ~= 1 do  -- bytes of two neighbours, not an identity
        at = identities:find(identity, at + 1, true)
    end
    return at ~= nil
end

-- How many of the timestamps are at most `timestamp`.
local function not_after(timestamps, count, timestamp)
    local low, high = 0, count
    while low < high do
        local middle = math.floor((low + high) / 2)
        if struct.unpack('>i8', timestamps, 8 * middle + 1) <= timestamp then
            low = middle + 1
        else
            high = middle
        end
    end
    return low
end

-- Where the item stands that comes `count` items after the one at `from`.
local function skip(items, from, count)
    for _ = 1, count do
        from = items:find('\0', from, true) + 1
    end
    return from
end

local limit = tonumber(ARGV[1])
local stored = redis.call('GET', KEYS[1]) or EMPTY
if #stored < 4 or #stored < 4 + 16 * struct.unpack('>I4', stored) or stored:byte(-1) ~= 0 then
    return redis.error_reply('UNREADABLE not a history')
end
local kept, timestamps, identities, items = columns(stored)
local given, new_timestamps, new_identities, new_items = columns(ARGV[3])

local merged_timestamps, merged_identities, merged_items = {}, {}, {}
local function take(timestamp, identity, item)
    table.insert(merged_timestamps, timestamp)
    table.insert(merged_identities, identity)
    table.insert(merged_items, item)
end

local taken, item_at, places = 0, 1, {}
local function take_kept(upto)  -- the kept events before position `upto`
    if upto > taken then
        local next_item = upto == kept and #items + 1 or skip(items, item_at, upto - taken)
        take(timestamps:sub(8 * taken + 1, 8 * upto), identities:sub(8 * taken + 1, 8 * upto),
            items:sub(item_at, next_item - 1))
        taken, item_at = upto, next_item
    end
end

local new_item_at = 1
for event = 0, given - 1 do
    local timestamp, identity = new_timestamps:sub(8 * event + 1, 8 * event + 8), new_identities:sub(8 * event + 1, 8 * event + 8)
    local next_new_item = skip(new_items, new_item_at, 1)
    if not holds(identities, identity) then
        take_kept(not_after(timestamps, kept, struct.unpack('>i8', timestamp)))
        table.insert(places, taken + #places)
        take(timestamp, identity, new_items:sub(new_item_at, next_new_item - 1))
    end
    new_item_at = next_new_item
end

if #places == 0 then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    return {0, 0}
end
take_kept(kept)

local excess = math.max(0, kept + #places - limit)
local outdated = 0
for _, place in ipairs(places) do
    if place < excess then
        outdated = outdated + 1
    end
end
timestamps = table.concat(merged_timestamps):sub(8 * excess + 1)
identities = table.concat(merged_identities):sub(8 * excess + 1)
items = table.concat(merged_items)
items = items:sub(skip(items, 1, excess))
local count = struct.pack('>I4', kept + #places - excess)
redis.call('SET', KEYS[1], count .. timestamps .. identities .. items, 'PX', ARGV[2])
return {#places - outdated, outdated}
