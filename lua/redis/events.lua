#!lua name=nightfeed_events
-- One beacon of one user as one atomic step. Every key is passed by the caller and all share the user's hash tag.
--
--   keys  1 users  2 searches  3... seen of each live bucket, newest first  then acts of each, same order
--         then counters of each day that the events touch
--   args  1 user  2 number of live buckets  3 expiry of the searches key  4... expiry of each live bucket
--         then expiry of each day's counters (all Unix s)  then FIELDS for each event  last: newest ts, ms
--   reply impressions counted, clicks counted, repeats (impressions of what was seen already)
--
-- A user's seen set holds, for item number n:   n          seen
--                                               n + MARKER seen, no impression counted (a click or hide came first)
--                                               -n         clicked
-- An impression counts when n stands and n + MARKER does not; a click when -n stands, too. Each event adds members,
-- and counters move exactly when such a condition becomes true, so neither order nor repetition changes a total.

local MARKER = 536870912
local MAX_HASHES = 64        -- dwells, reactions and conversions remembered for one user, item and bucket
local MAX_SEARCHES = 50
local FIELDS = 5             -- letter, number or query, bucket index, day index, value

-- Membership of every number an event names, over all live buckets: one SMISMEMBER a bucket.
local function read_seen(seen_keys, events)
    local probes, slot = {}, {}
    for _, event in ipairs(events) do
        local n = event.number
        if n and not slot[n] then
            slot[n] = #probes + 1
            probes[#probes + 1] = n
            probes[#probes + 1] = -n
            probes[#probes + 1] = n + MARKER
        end
    end
    local state = {}
    if #probes == 0 then
        return state
    end
    for n in pairs(slot) do
        state[n] = { seen = nil, clicked = nil, marked = nil }
    end
    for _, key in ipairs(seen_keys) do
        if redis.call('EXISTS', key) == 1 then
            local found = redis.call('SMISMEMBER', key, unpack(probes))
            for n, at in pairs(slot) do
                if found[at] == 1 then state[n].seen = key end
                if found[at + 1] == 1 then state[n].clicked = key end
                if found[at + 2] == 1 then state[n].marked = key end
            end
        end
    end
    return state
end

local function parse_events(args, first, last)
    local events = {}
    for i = first, last, FIELDS do
        local letter = args[i]
        events[#events + 1] = {
            letter = letter,
            number = letter ~= 's' and tonumber(args[i + 1]) or nil,
            query = args[i + 1],
            bucket = tonumber(args[i + 2]),
            day = tonumber(args[i + 3]),
            value = args[i + 4],
        }
    end
    return events
end

-- What one call will write, gathered first so that each key gets one command.
local function new_writes()
    return { add = {}, remove = {}, counts = {}, touched = {}, impressions = 0, clicks = 0, repeats = 0 }
end

local function gather(list, key, value)
    local entry = list[key]
    if not entry then
        entry = {}
        list[key] = entry
    end
    entry[#entry + 1] = value
end

local function count(writes, event, letter, by)
    local day = writes.counts[event.day]
    if not day then
        day = {}
        writes.counts[event.day] = day
    end
    local field = event.number .. letter
    day[field] = (day[field] or 0) + by
end

local function count_impression(writes, event, state)
    writes.impressions = writes.impressions + 1
    count(writes, event, 'i', 1)
    if state.clicked then
        writes.clicks = writes.clicks + 1
        count(writes, event, 'c', 1)
    end
end

local function impression(writes, event, state, key)
    if state.marked then
        gather(writes.remove, state.marked, event.number + MARKER)
        state.marked = nil
        count_impression(writes, event, state)
    elseif state.seen then
        writes.repeats = writes.repeats + 1
    else
        gather(writes.add, key, event.number)
        state.seen = key
        count_impression(writes, event, state)
    end
end

-- Whatever a person did with an item, the item is known to them from then on.
local function mark_known(writes, event, state, key)
    if not state.seen then
        gather(writes.add, key, event.number)
        gather(writes.add, key, event.number + MARKER)
        state.seen, state.marked = key, key
    end
end

local function click(writes, event, state, key)
    mark_known(writes, event, state, key)
    if not state.clicked then
        gather(writes.add, key, -event.number)
        state.clicked = key
        if not state.marked then
            writes.clicks = writes.clicks + 1
            count(writes, event, 'c', 1)
        end
    end
end

local function unpack_acts(raw)
    if not raw then
        return 0, {}, {}
    end
    local total = struct.unpack('<I4', raw)
    local order, known = {}, {}
    for at = 5, #raw, 4 do
        local hash = struct.unpack('<I4', raw, at)
        order[#order + 1] = hash
        known[hash] = true
    end
    return total, order, known
end

local function pack_acts(total, order)
    local parts = { struct.pack('<I4', total) }
    for i, hash in ipairs(order) do
        parts[i + 1] = struct.pack('<I4', hash)
    end
    return table.concat(parts)
end

-- Dwells add up to a cap; reactions, conversions and hides count once each. `value` is "<hash>" or "<ms>:<hash>:<cap>".
local function act(writes, event, key)
    local raw = redis.call('HGET', key, event.number)
    local total, order, known = unpack_acts(raw)
    local ms, hash, cap = string.match(event.value, '^(%d+):(%d+):(%d+)$')
    hash = tonumber(hash or event.value)
    if known[hash] or #order >= MAX_HASHES then
        return
    end
    order[#order + 1] = hash
    local by = 1
    if ms then
        by = math.max(0, math.min(tonumber(ms), tonumber(cap) - total))
        total = total + by
    end
    redis.call('HSET', key, event.number, pack_acts(total, order))
    writes.touched[key] = event.bucket
    if by > 0 then
        count(writes, event, event.letter, by)
    end
end

local function search(key, event)
    local entry = event.value .. ' ' .. event.query
    if not redis.call('LPOS', key, entry) then
        redis.call('RPUSH', key, entry)
        redis.call('LTRIM', key, -MAX_SEARCHES, -1)
    end
end

-- The gathered writes: one command a key. Redis refuses the whole call before it begins when memory is out.
local function apply(writes, seen_keys, seen_expiry, count_keys, count_expiry)
    for key, members in pairs(writes.add) do
        redis.call('SADD', key, unpack(members))
    end
    for key, members in pairs(writes.remove) do
        redis.call('SREM', key, unpack(members))
    end
    for index, key in ipairs(seen_keys) do
        if writes.add[key] then
            redis.call('EXPIREAT', key, seen_expiry[index], 'NX')
        end
    end
    for key, bucket in pairs(writes.touched) do
        redis.call('EXPIREAT', key, seen_expiry[bucket], 'NX')
    end
    for day, fields in pairs(writes.counts) do
        for field, by in pairs(fields) do
            redis.call('HINCRBY', count_keys[day], field, by)
        end
        redis.call('EXPIREAT', count_keys[day], count_expiry[day], 'NX')
    end
end

local function slice(list, first, last)
    local part = {}
    for i = first, last do
        part[#part + 1] = list[i]
    end
    return part
end

local function record(keys, args)
    local user, buckets, newest = args[1], tonumber(args[2]), args[#args]
    local days = #keys - 2 - 2 * buckets
    local seen_keys = slice(keys, 3, 2 + buckets)
    local acts_keys = slice(keys, 3 + buckets, 2 + 2 * buckets)
    local count_keys = slice(keys, 3 + 2 * buckets, #keys)
    local seen_expiry = slice(args, 4, 3 + buckets)
    local count_expiry = slice(args, 4 + buckets, 3 + buckets + days)
    local events = parse_events(args, 4 + buckets + days, #args - 1)
    local state, writes = read_seen(seen_keys, events), new_writes()
    redis.call('ZADD', keys[1], 'GT', newest, user)
    for _, event in ipairs(events) do
        local seen_key = seen_keys[event.bucket]
        if event.letter == 'i' then
            impression(writes, event, state[event.number], seen_key)
        elseif event.letter == 'c' then
            click(writes, event, state[event.number], seen_key)
        elseif event.letter == 's' then
            search(keys[2], event)
            redis.call('EXPIREAT', keys[2], args[3])
        else
            mark_known(writes, event, state[event.number], seen_key)
            act(writes, event, acts_keys[event.bucket])
        end
    end
    apply(writes, seen_keys, seen_expiry, count_keys, count_expiry)
    return { writes.impressions, writes.clicks, writes.repeats }
end

redis.register_function('nightfeed_record', record)
