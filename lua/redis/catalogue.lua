#!lua name=nightfeed_catalogue
-- A batch of items as one atomic step.
--
--   keys  1 ids  2 categories  3 records  4 meta  5 version  6 changes
--   args  for each item: id, category, record JSON, posted, expires (Unix s), social, kind, flags
--   reply the item numbers
--
-- A record of '' removes the item; its number stays, so that an item which comes back is still known as seen.

local ROW = 16
local JUMP = 1000            -- versions: farther than what an edge process takes for work of one round

local function category_number(key, name)
    local number = redis.call('HGET', key, name)
    if not number then
        number = redis.call('HLEN', key) + 1
        if number > 65535 then
            return nil
        end
        redis.call('HSET', key, name, number)
    end
    return tonumber(number)
end

-- Whether this Redis has given out a version since it started (or read this file).
local began = false

-- A new store begins at its clock; so does one that was started again, since it may have lost its last versions. An
-- edge process cannot take what they mean now for what it knows: it sees a jump, and reads everything.
local function next_version(key)
    if not began or redis.call('EXISTS', key) == 0 then
        local now, last = redis.call('TIME'), tonumber(redis.call('GET', key) or 0)
        redis.call('SET', key, math.max(now[1] * 1000 + math.floor(now[2] / 1000), last + JUMP))
        began = true
    end
    return redis.call('INCR', key)
end

local function put(keys, args)
    local version, numbers = next_version(keys[5]), {}
    for i = 1, #args, 8 do
        local number = redis.call('HGET', keys[1], args[i])
        local category = category_number(keys[2], args[i + 1])
        if not category then
            return redis.error_reply('CATEGORIES there are 65535 categories already: reuse one')
        end
        if not number then
            number = redis.call('HLEN', keys[1]) + 1
            redis.call('HSET', keys[1], args[i], number)
        end
        number = tonumber(number)
        local posted, expires, social, kind, flags = unpack(args, i + 3, i + 7)
        local row = struct.pack('<I4I4I4I2I1I1', posted, expires, social, category, kind, flags)
        redis.call('SETRANGE', keys[4], (number - 1) * ROW, row)
        if args[i + 2] == '' then
            redis.call('HDEL', keys[3], number)
        else
            redis.call('HSET', keys[3], number, args[i + 2])
        end
        redis.call('ZADD', keys[6], version, number)
        numbers[#numbers + 1] = number
    end
    return numbers
end

redis.register_function('nightfeed_put', put)
