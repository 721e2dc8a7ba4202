-- A stored entry: sequence, 1 where it is removed, length of the description, description, origin.

local function parsed(value)
    if value then
        local sequence, removed, length, rest = string.match(value, '^(%d+);(%d);(%d+);(.*)$')
        if sequence then
            local cut = tonumber(length)
            return {
                sequence = tonumber(sequence),
                removed = removed,
                description = string.sub(rest, 1, cut),
                origin = string.sub(rest, cut + 1),
            }
        end
    end
    return { sequence = 0, removed = '1', description = '', origin = '' }
end

local function joined(sequence, removed, description, origin)
    return string.format('%d;%s;%d;', sequence, removed, #description) .. description .. origin
end
