-- Takes a process that ends off the board, as one step: in between it would count as one whose words are lost.
--
-- KEYS[1]  hash of processes    KEYS[2]  sorted set of their deadlines    ARGV[1]  id of the process

redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
