#!lua name=nightfeed_events
-- One beacon of one user as one atomic step. Every key is passed by the caller and all share the user's hash tag.
--
--   keys  1 users  2 erased  3 searches  4... seen of each live bucket, newest first  then acts of each, same order
--         then counters of each day that the events touch
--   args  1 user  2 number of live buckets  3 expiry of the searches key  4... expiry of each live bucket
--         then expiry of each day's counters (all Unix s)  then FIELDS for each event
--         last: key of pseudonyms, oldest ts, newest ts (ms)
--   reply impressions counted, clicks counted, repeats (impressions of what was seen already)
--         or 0, 0, 0 and the time (ms) at which the person was erased: some event is not from after it, and nothing
--         was written; the caller leaves such events out and calls again
--
-- A user's seen set of a bucket holds, for item number n:
--
--     n          something happened between the user and the item in this bucket: the item is seen
--     -n         clicked in this bucket
--     n + MARKER no impression was counted yet, in any live bucket (a click or hide came first)
--
-- Over all live buckets: an impression counts when n stands and no n + MARKER does; a click when -n stands, too. Each
-- event adds members, and counters move exactly when such a condition becomes true, so neither order nor repetition
-- changes a total. An item is a member of every bucket in which it had an event: it stays seen for a whole window after
-- the last of them, and what an older bucket knew about clicks and impressions is not lost when that one expires.

local MARKER = 536870912
local MAX_HASHES = 64        -- dwells, reactions and conversions remembered for one user, item and bucket
local MAX_SEARCHES = 50
local FIELDS = 5             -- letter, number or query, bucket index, day index, value
local LAST = 3               -- arguments behind the events

-- What is known of one item: `seen`, `clicked` and `marked` are the buckets in which that member stands, or nil.
local function stand(item, member, bucket)
    item[member] = item[member] or {}
    item[member][bucket] = true
end

-- What is known of every item that an event names, over all live buckets: one SMISMEMBER a bucket.
local function read_items(seen_keys, events)
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
    local items = {}
    for n in pairs(slot) do
        items[n] = {}
    end
    if #probes == 0 then
        return items
    end
    for bucket, key in ipairs(seen_keys) do
        if redis.call('EXISTS', key) == 1 then
            local found = redis.call('SMISMEMBER', key, unpack(probes))
            for n, at in pairs(slot) do
                if found[at] == 1 then stand(items[n], 'seen', bucket) end
                if found[at + 1] == 1 then stand(items[n], 'clicked', bucket) end
                if found[at + 2] == 1 then stand(items[n], 'marked', bucket) end
            end
        end
    end
    return items
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

local function add(writes, item, member, bucket, number)
    if not (item[member] and item[member][bucket]) then
        stand(item, member, bucket)
        gather(writes.add, bucket, number)
    end
end

local function counted(item)
    return item.seen and not item.marked
end

local function count_click(writes, event)
    writes.clicks = writes.clicks + 1
    count(writes, event, 'c', 1)
end

local function impression(writes, event, item)
    if counted(item) then
        writes.repeats = writes.repeats + 1
        add(writes, item, 'seen', event.bucket, event.number)
        return
    end
    add(writes, item, 'seen', event.bucket, event.number)
    for bucket in pairs(item.marked or {}) do
        gather(writes.remove, bucket, event.number + MARKER)
    end
    item.marked = nil
    writes.impressions = writes.impressions + 1
    count(writes, event, 'i', 1)
    if item.clicked then
        count_click(writes, event)
    end
end

-- Whatever a person did with an item, the item is known to them from then on.
local function mark_known(writes, event, item)
    if not counted(item) then
        add(writes, item, 'marked', event.bucket, event.number + MARKER)
    end
    add(writes, item, 'seen', event.bucket, event.number)
end

local function click(writes, event, item)
    mark_known(writes, event, item)
    if not item.clicked and not item.marked then
        count_click(writes, event)
    end
    add(writes, item, 'clicked', event.bucket, -event.number)
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
-- A dwell beyond the cap changes nothing however often it comes, so that it needs no place among the hashes.
local function act(writes, event, key)
    local total, order, known = unpack_acts(redis.call('HGET', key, event.number))
    local ms, hash, cap = string.match(event.value, '^(%d+):(%d+):(%d+)$')
    hash = tonumber(hash or event.value)
    local by = ms and math.min(tonumber(ms), tonumber(cap) - total) or 1
    if by <= 0 or known[hash] or #order >= MAX_HASHES then
        return
    end
    order[#order + 1] = hash
    redis.call('HSET', key, event.number, pack_acts(ms and total + by or total, order))
    writes.touched[event.bucket] = true
    count(writes, event, event.letter, by)
end

-- Whether search `a` comes before `b`: by time, then by text. An entry is "<ts> <query>".
local function earlier(a, b)
    local ts_a, ts_b = tonumber(string.match(a, '^%d+')), tonumber(string.match(b, '^%d+'))
    return ts_a < ts_b or (ts_a == ts_b and a < b)
end

-- Searches stand in the order of their time, whatever the order they came in; the oldest beyond the limit go.
local function search(key, event)
    local entry, entries = event.value .. ' ' .. event.query, redis.call('LRANGE', key, 0, -1)
    local at = #entries
    while at > 0 and earlier(entry, entries[at]) do
        at = at - 1
    end
    if entries[at] == entry or (at == 0 and #entries >= MAX_SEARCHES) then
        return
    end
    if at == #entries then
        redis.call('RPUSH', key, entry)
    else
        redis.call('LINSERT', key, 'BEFORE', entries[at + 1], entry)
    end
    redis.call('LTRIM', key, -MAX_SEARCHES, -1)
end

-- GT alone leaves a key without an expiry as it is.
local function expire_later(key, at)
    redis.call('EXPIREAT', key, at, 'NX')
    redis.call('EXPIREAT', key, at, 'GT')
end

-- The gathered writes: one command a key. Redis refuses the whole call before it begins when memory is out.
local function apply(writes, keys, expiry)
    for bucket, members in pairs(writes.add) do
        redis.call('SADD', keys.seen[bucket], unpack(members))
        redis.call('EXPIREAT', keys.seen[bucket], expiry.bucket[bucket], 'NX')
    end
    for bucket, members in pairs(writes.remove) do
        redis.call('SREM', keys.seen[bucket], unpack(members))
    end
    for bucket in pairs(writes.touched) do
        redis.call('EXPIREAT', keys.acts[bucket], expiry.bucket[bucket], 'NX')
    end
    for day, fields in pairs(writes.counts) do
        for field, by in pairs(fields) do
            redis.call('HINCRBY', keys.count[day], field, by)
        end
        redis.call('EXPIREAT', keys.count[day], expiry.day[day], 'NX')
    end
end

local function slice(list, first, last)
    local part = {}
    for i = first, last do
        part[#part + 1] = list[i]
    end
    return part
end

-- When the person was erased, Unix ms, or nil. Whoever was erased is known by a pseudonym: two SHA-1 with a key each,
-- as HMAC does it. worker/store/erasures.py makes the same.
local function erased_at(key, secret, user)
    if redis.call('EXISTS', key) == 0 then
        return nil
    end
    local half = #secret / 2
    local inner = redis.sha1hex(string.sub(secret, 1, half) .. user)
    return tonumber(redis.call('ZSCORE', key, redis.sha1hex(string.sub(secret, half + 1) .. inner)) or nil)
end

local function record(keys, args)
    local user, buckets, secret, oldest, newest = args[1], tonumber(args[2]), unpack(args, #args - LAST + 1)
    local erased = erased_at(keys[2], secret, user)
    if erased and tonumber(oldest) <= erased then
        return { 0, 0, 0, erased }
    end
    local days = #keys - 3 - 2 * buckets
    local named = {
        seen = slice(keys, 4, 3 + buckets),
        acts = slice(keys, 4 + buckets, 3 + 2 * buckets),
        count = slice(keys, 4 + 2 * buckets, #keys),
    }
    local expiry = { bucket = slice(args, 4, 3 + buckets), day = slice(args, 4 + buckets, 3 + buckets + days) }
    local events = parse_events(args, 4 + buckets + days, #args - LAST)
    local items, writes = read_items(named.seen, events), new_writes()
    redis.call('ZADD', keys[1], 'GT', newest, user)
    for _, event in ipairs(events) do
        if event.letter == 'i' then
            impression(writes, event, items[event.number])
        elseif event.letter == 'c' then
            click(writes, event, items[event.number])
        elseif event.letter == 's' then
            search(keys[3], event)
            expire_later(keys[3], args[3])
        else
            mark_known(writes, event, items[event.number])
            act(writes, event, named.acts[event.bucket])
        end
    end
    apply(writes, named, expiry)
    return { writes.impressions, writes.clicks, writes.repeats }
end

-- Declared as writing (no flags) and writing nothing: Redis refuses it whenever it would refuse a beacon, because
-- memory is out, the disk is full, or it is a read-only replica. That is what the edge's /readyz asks.
local function ready()
    return 'OK'
end

redis.register_function('nightfeed_record', record)
redis.register_function('nightfeed_ready', ready)
