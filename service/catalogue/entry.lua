-- A stored entry: sequence, 1 where it is removed, sequence of its origin, length of the description,
-- description, origin.

local function parsed(value)
    if value then
        local sequence, removed, given, length, rest = string.match(value, '^(%d+);(%d);(%d+);(%d+);(.*)$')
        if sequence then
            local cut = tonumber(length)
            return {
                sequence = tonumber(sequence),
                removed = removed,
                given = tonumber(given),
                description = string.sub(rest, 1, cut),
                origin = string.sub(rest, cut + 1),
            }
        end
    end
    return { sequence = 0, removed = '1', given = 0, description = '', origin = '' }
end

local function joined(sequence, removed, given, description, origin)
    return string.format('%d;%s;%d;%d;', sequence, removed, given, #description) .. description .. origin
end
