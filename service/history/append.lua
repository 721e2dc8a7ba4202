-- Adds events to one user's history and trims it, in one step. columns.lua comes first.
--
-- KEYS[1]  the user's history      ARGV[1]  events to keep
-- ARGV[2]  life of the key in ms   ARGV[3]  the events, oldest first, no identity twice; their day is today
-- ARGV[4]  life of a new user's key in ms
--
-- A user is new from the first event until one comes on a later day; where today is 0, nobody is.
--
-- A full history is long: it's cut and joined once, and never copied for less.
--
-- Returns {events added, events older than a full history, a character for each of the events: + where added}.

local given = columns(ARGV[3])
local stored = redis.call('GET', KEYS[1]) or struct.pack('>I4I4', 0, given.day)
local kept, unreadable = read(stored)
if not kept then
    return unreadable
end

local function life(day)
    return day == 0 and ARGV[2] or ARGV[4]
end

local new, fates = {}, {}
for event = 0, given.count - 1 do
    fates[event + 1] = '-'
    local at = given.identities + 8 * event
    if not find(kept, given.bytes:sub(at, at + 7)) then
        table.insert(new, event)
    end
end
if #new == 0 then
    redis.call('PEXPIRE', KEYS[1], life(kept.day))
    return {0, 0, table.concat(fates)}
end

local excess = math.max(0, kept.count + #new - ARGV[1])
local timestamps, identities, items = {}, {}, {}
local function take(history, from, upto, item_from, item_upto)  -- events from … upto − 1
    table.insert(timestamps, history.bytes:sub(history.timestamps + 8 * from, history.timestamps + 8 * upto - 1))
    table.insert(identities, history.bytes:sub(history.identities + 8 * from, history.identities + 8 * upto - 1))
    table.insert(items, history.bytes:sub(item_from, item_upto - 1))
end

local to_drop = excess
local next_kept, kept_item = 0, kept.items
local function take_kept(upto)
    local dropped = math.min(to_drop, upto - next_kept)
    to_drop = to_drop - dropped
    next_kept, kept_item = next_kept + dropped, skip(kept, kept_item, dropped)
    if next_kept < upto then
        local item_upto = upto == kept.count and #kept.bytes + 1 or skip(kept, kept_item, upto - next_kept)
        take(kept, next_kept, upto, kept_item, item_upto)
        next_kept, kept_item = upto, item_upto
    end
end

local outdated = 0
local given_event, given_item = 0, given.items
for _, event in ipairs(new) do
    take_kept(not_after(kept, timestamp_at(given, event)))
    given_item = skip(given, given_item, event - given_event)
    given_event = event
    if to_drop > 0 then
        to_drop, outdated = to_drop - 1, outdated + 1
    else
        take(given, event, event + 1, given_item, skip(given, given_item, 1))
        fates[event + 1] = '+'
    end
end
take_kept(kept.count)

local day = (given.day == 0 or given.day > kept.day) and 0 or kept.day
local head = struct.pack('>I4I4', kept.count + #new - excess, day)
local merged = head .. table.concat(timestamps) .. table.concat(identities) .. table.concat(items)
redis.call('SET', KEYS[1], merged, 'PX', life(day))
return {#new - outdated, outdated, table.concat(fates)}
