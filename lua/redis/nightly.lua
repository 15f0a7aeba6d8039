#!lua name=nightfeed_nightly
-- What the nightly run writes. Every write compares the run's fencing token in the same step.

local function slice(list, first, last)
    local part = {}
    for i = first, last do
        part[#part + 1] = list[i]
    end
    return part
end

-- Roll-up: keys 1 count, 2 taken; args 1 the id of this taking. What a killed run had taken comes first, under its own
-- id, so that nothing is added twice or lost. The id stands behind the counts, in 8 bytes. Replies the length of it
-- all in bytes; 0: nothing to take.
local function take(keys, args)
    if redis.call('EXISTS', keys[2]) == 0 then
        if redis.call('EXISTS', keys[1]) == 0 then
            return 0
        end
        redis.call('RENAME', keys[1], keys[2])
        redis.call('APPEND', keys[2], struct.pack('<I8', tonumber(args[1])))
    end
    return redis.call('STRLEN', keys[2])
end

-- The newest fencing token of a partition wins: a stalled older run is refused in the write itself.
local function fenced(key, token)
    local newest = tonumber(redis.call('HGET', key, 'token') or 0)
    if tonumber(token) < newest then
        return true
    end
    if tonumber(token) > newest then
        redis.call('HSET', key, 'token', token)
    end
    return false
end

-- Whether this is another start of Redis than the run knows: then it may have lost writes that it had acknowledged.
local function restarted(server)
    return server ~= '' and not string.find(redis.call('INFO', 'server'), 'run_id:' .. server, 1, true)
end

local OUTRUN = 'FENCED a newer run has begun: this one must stop'
local RESTARTED = 'RESTARTED since the run began: some of its writes may be lost'

-- Drops counts that were rolled up: key 1 taken; args 1 the id of their taking, 2 run id of Redis ('': any). Another
-- taking stays; so do all when the statistics that they were added to may be lost.
local function drop(keys, args)
    if restarted(args[2]) then
        return redis.error_reply(RESTARTED)
    end
    if redis.call('GETRANGE', keys[1], -8, -1) == struct.pack('<I8', tonumber(args[1])) then
        redis.call('UNLINK', keys[1])
    end
    return 'OK'
end

-- Claims a partition for one process: key 1 fence; args 1 token, 2 generation, 3 owner, 4 seconds that the claim lasts
-- unless renewed by the same owner. Replies 'claimed', 'busy' (another's claim lasts), or 'done'.
local function claim(keys, args)
    if fenced(keys[1], args[1]) then
        return redis.error_reply(OUTRUN)
    end
    local done, owner, ends = unpack(redis.call('HMGET', keys[1], 'done', 'owner', 'ends'))
    if done == args[2] then
        return 'done'
    end
    local now = tonumber(redis.call('TIME')[1])
    local mine = args[1] .. ':' .. args[3]
    if owner and owner ~= mine and string.match(owner, '^%d+') == args[1] and tonumber(ends) > now then
        return 'busy'
    end
    redis.call('HSET', keys[1], 'owner', mine, 'ends', now + args[4])
    return 'claimed'
end

-- Key 1 fence; args 1 token: makes it the fence that writers of lists compare, unless a newer one is.
local function fence(keys, args)
    if fenced(keys[1], args[1]) then
        return redis.error_reply(OUTRUN)
    end
    return 'OK'
end

-- Marks a partition as done: key 1 fence; args 1 token, 2 run id of Redis ('': any), 3 generation, 4 its report.
local function done(keys, args)
    if restarted(args[2]) then
        return redis.error_reply(RESTARTED)
    end
    if fenced(keys[1], args[1]) then
        return redis.error_reply(OUTRUN)
    end
    redis.call('HSET', keys[1], 'done', args[3], 'report', args[4])
    return 'OK'
end

-- Keys 1 token, 2 generation; args 1 token, 2 run id of Redis ('': any), then fields and values of the generation.
local function switch(keys, args)
    if restarted(args[2]) then
        return redis.error_reply(RESTARTED)
    end
    if tonumber(redis.call('GET', keys[1]) or 0) ~= tonumber(args[1]) then
        return redis.error_reply(OUTRUN)
    end
    redis.call('HSET', keys[2], unpack(slice(args, 3, #args)))
    return 'OK'
end

-- Seen sets in no more memory than they need: what APPEND has touched has as much again to spare. Keys: seen sets.
-- Not by GET: a run counts those to know whether visitors are there (worker/nightly/courtesy.py).
local function compact(keys)
    for _, key in ipairs(keys) do
        local words = redis.call('GETRANGE', key, 0, -1)
        if words ~= '' then
            redis.call('SET', key, words, 'KEEPTTL')
        end
    end
    return 'OK'
end

redis.register_function('nightfeed_take', take)
redis.register_function('nightfeed_drop', drop)
redis.register_function('nightfeed_claim', claim)
redis.register_function('nightfeed_fence', fence)
redis.register_function('nightfeed_done', done)
redis.register_function('nightfeed_switch', switch)
redis.register_function('nightfeed_compact', compact)
