-- A history as columns, and how to find one's way in it: read before append.lua, remove.lua and drop_older.lua.
--
-- A history is a string of columns (service/history/encoding.py writes the same):
--   count (4 bytes) | day (4 bytes) | count timestamps (8 bytes each) | count identities (8 bytes each) | count items, each ended by NUL
-- so that an event is found by one search of the identities and a place in time by bisection of the timestamps.

-- Where the columns of a history are.
local function columns(history)
    local count, day = struct.unpack('>I4I4', history)
    return {
        bytes = history, count = count, day = day,
        timestamps = 9, identities = 9 + 8 * count, items = 9 + 16 * count,
    }
end

-- Where the item stands that comes `count` items after the one at `from`; nil: there are fewer.
local function skip(history, from, count)
    for _ = 1, count do
        local ended = history.bytes:find('\0', from, true)
        if not ended then
            return nil
        end
        from = ended + 1
    end
    return from
end

-- The columns of what is kept under a key, or nil and an error if it's something else than a history.
local function read(stored)
    if #stored >= 8 and #stored >= 8 + 16 * struct.unpack('>I4', stored) then
        local history = columns(stored)
        if skip(history, history.items, history.count) == #stored + 1 then
            return history
        end
    end
    return nil, redis.error_reply('UNREADABLE not a history')
end

local function timestamp_at(history, event)
    return (struct.unpack('>i8', history.bytes, history.timestamps + 8 * event))
end

-- How many events of a history are not after `timestamp`.
local function not_after(history, timestamp)
    local low, high = 0, history.count
    while low < high do
        local middle = math.floor((low + high) / 2)
        if timestamp_at(history, middle) <= timestamp then
            low = middle + 1
        else
            high = middle
        end
    end
    return low
end

-- Which event has the identity, counted from 0; nil: none.
local function find(history, identity)
    local at = history.bytes:find(identity, history.identities, true)
    while at and at < history.items do
        if (at - history.identities) % 8 == 0 then
            return (at - history.identities) / 8
        end
        at = history.bytes:find(identity, at + 1, true)  -- it was bytes of two neighbours
    end
    return nil
end
