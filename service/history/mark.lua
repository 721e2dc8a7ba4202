-- Marks a user as forgotten, in one step.
--
-- KEYS[1]  the user's mark      ARGV[1]  the moment, ms since the epoch      ARGV[2]  life of the key in ms
--
-- A later moment that is there already stays.

local known = redis.call('GET', KEYS[1])
local moment = (known and tonumber(known) > tonumber(ARGV[1])) and known or ARGV[1]
redis.call('SET', KEYS[1], moment, 'PX', ARGV[2])
