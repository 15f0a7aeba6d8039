#!lua name=nightfeed_identify
-- An anonymous person's history becomes part of a signed-in person's, in two steps, as they may live on two nodes:
-- nightfeed_lend reads the one and notes what it has handed over, nightfeed_adopt adds that to the other.
--
-- Both know by state what is to do, so that any repetition changes nothing. What both had counted in the statistics
-- is two counts of one person: one is taken back. Only what was never lent before can be taken back; when the first
-- step is done and the second is not, the next call still adds the history, and those two counts stay.
--
-- Seen sets, acts and searches are those of events.lua, as are the commands' rights.

local ITEM, CODE = 128, 4            -- a word of a seen set: item * 128 + bucket code * 4 + flags
local CODES = 32
local CLICKED, UNCOUNTED = 1, 2
local COUNTED = 2                    -- of what is lent: 1 a click, 2 an impression
local ITEMS = 33554432               -- 2^25
local NO_IMPRESSION, CLICK, NO_CLICK = 0, 2, 7   -- codes of counts
local DAY_MS = 86400000
local MAX_HASHES, MAX_SEARCHES, MAX_TOTAL = 64, 50, 4294967295
local MANY = 1000                    -- arguments of one command that may be unpacked at once

local function is_live(mask, code)
    return bit.band(mask, bit.lshift(1, code)) ~= 0
end

-- What the live words say, by item: seen in `first` (the oldest bucket, by its place in `order`), clicked, uncounted.
local function summed(words, mask, order)
    local items = {}
    for at = 1, #words, 4 do
        local word = struct.unpack('<I4', words, at)
        local code, flags = math.floor(word / CODE) % CODES, word % CODE
        if is_live(mask, code) then
            local n = math.floor(word / ITEM)
            local item = items[n] or { first = order[code] }
            items[n] = item
            item.first = math.min(item.first, order[code])
            item.clicked = item.clicked or flags % UNCOUNTED == CLICKED
            item.uncounted = item.uncounted or flags >= UNCOUNTED
        end
    end
    return items
end

-- The place of each live bucket in the list of them, oldest first, by code.
local function order_of(buckets)
    local order = {}
    for i = 1, #buckets do
        order[buckets[i] % CODES] = i
    end
    return order
end

local function numbers(args, first, count)
    local list = {}
    for i = 1, count do
        list[i] = tonumber(args[first + i - 1])
    end
    return list
end

local function table_of(flat)
    local found = {}
    for i = 1, #flat, 2 do
        found[flat[i]] = flat[i + 1]
    end
    return found
end

local function call_with_many(command, key, values)
    for i = 1, #values, MANY do
        redis.call(command, key, unpack(values, i, math.min(i + MANY - 1, #values)))
    end
end

-- What of each item was counted and not lent yet: item, and flags + place of its first bucket * 4, 4 bytes each.
local function claims_of(items, lent, notes)
    local claims = {}
    for n, item in pairs(items) do
        local counted = item.uncounted and 0 or COUNTED + (item.clicked and 1 or 0)
        local known = tonumber(lent[tostring(n)] or 0)
        local new = counted - bit.band(counted, known)
        if new > 0 then
            claims[#claims + 1] = struct.pack('<I4I4', n, new + item.first * 4)
            notes[#notes + 1], notes[#notes + 2] = n, bit.bor(known, counted)
        end
    end
    return table.concat(claims)
end

-- Acts as place of the bucket, item, their bytes, and milliseconds of dwell that were not lent yet.
local function acts_of(keys, buckets, lent, notes)
    local acts = {}
    for i = 1, #buckets do
        local found = redis.call('HGETALL', keys[i + 4])
        for j = 1, #found, 2 do
            local field = buckets[i] .. ':' .. found[j]
            local total = struct.unpack('<I4', found[j + 1])
            local new = total - tonumber(lent[field] or 0)
            if new > 0 then
                notes[#notes + 1], notes[#notes + 2] = field, total
            end
            local at = #acts
            acts[at + 1], acts[at + 2], acts[at + 3], acts[at + 4] = i, found[j], found[j + 1], math.max(new, 0)
        end
    end
    return acts
end

--   keys  1 users  2 seen  3 lent  4 searches  then acts of each live bucket, oldest first
--   args  1 user  2 mask of live buckets  3 expiry of what is lent (Unix s)  then the numbers of those buckets
--   reply words of the seen set, what of it was counted and is lent now, acts, searches, last visit (Unix ms, '': none)
local function lend(keys, args)
    local buckets = numbers(args, 4, #args - 3)
    local words, notes = redis.call('GET', keys[2]) or '', {}
    local lent = table_of(redis.call('HGETALL', keys[3]))
    local claims = claims_of(summed(words, tonumber(args[2]), order_of(buckets)), lent, notes)
    local acts = acts_of(keys, buckets, lent, notes)
    if #notes > 0 then
        call_with_many('HSET', keys[3], notes)
        redis.call('EXPIREAT', keys[3], args[3])
    end
    return { words, claims, acts, redis.call('LRANGE', keys[4], 0, -1), redis.call('ZSCORE', keys[1], args[1]) or '' }
end

-- When the person was erased, Unix ms, or -1. The same as in events.lua.
local function erased_at(key, secret, user)
    if redis.call('EXISTS', key) == 0 then
        return -1
    end
    local half = #secret / 2
    local inner = redis.sha1hex(string.sub(secret, 1, half) .. user)
    return tonumber(redis.call('ZSCORE', key, redis.sha1hex(string.sub(secret, half + 1) .. inner)) or -1)
end

-- How the statistics change when two people's knowledge of an item becomes one person's. `claim`: what is lent of the
-- other's counts; what was lent before is in mine already, so it only keeps things from counting again.
local function corrections(mine, theirs, claim)
    local i_mine, i_theirs = mine and not mine.uncounted, not theirs.uncounted
    local c_mine, c_theirs = i_mine and mine.clicked, i_theirs and theirs.clicked
    local impressions = claim >= COUNTED and i_mine and -1 or 0
    local clicks = 0
    if c_mine and c_theirs then
        clicks = claim % 2 == 1 and -1 or 0
    elseif not c_mine and not c_theirs and mine and (i_mine or i_theirs) and (mine.clicked or theirs.clicked) then
        clicks = 1
    end
    return impressions, clicks
end

-- Packed counts by place of the bucket, for items that both know.
local function count_corrections(mine, theirs, claims)
    local claimed, counts = {}, {}
    for at = 1, #claims, 8 do
        local n, place = struct.unpack('<I4I4', claims, at)
        claimed[n] = place % 4
    end
    for n, item in pairs(theirs) do
        local impressions, clicks = corrections(mine[n], item, claimed[n] or 0)
        local words = (impressions < 0 and struct.pack('<I4', n + NO_IMPRESSION * ITEMS) or '')
            .. (clicks ~= 0 and struct.pack('<I4', n + (clicks < 0 and NO_CLICK or CLICK) * ITEMS) or '')
        if words ~= '' then
            counts[item.first] = (counts[item.first] or '') .. words
        end
    end
    return counts
end

-- The words of both, mine first, each bucket of an item once. What either has counted is counted.
local function united(own, mine, other, theirs, mask)
    local flags, places, words = {}, {}, {}
    for index, raw in ipairs({ own, other }) do
        for at = 1, #raw, 4 do
            local word = struct.unpack('<I4', raw, at)
            local place = word - word % CODE
            if is_live(index == 1 and mask.all or mask.adopted, math.floor(word / CODE) % CODES) then
                if not flags[place] then
                    places[#places + 1] = place
                end
                flags[place] = bit.bor(flags[place] or 0, word % CODE)
            end
        end
    end
    for i, place in ipairs(places) do
        local n = math.floor(place / ITEM)
        local counted = (mine[n] and not mine[n].uncounted) or (theirs[n] and not theirs[n].uncounted)
        words[i] = struct.pack('<I4', place + (counted and flags[place] % UNCOUNTED or flags[place]))
    end
    return table.concat(words)
end

-- GT alone leaves a key without an expiry as it is.
local function expire_later(key, at)
    redis.call('EXPIREAT', key, at, 'NX')
    redis.call('EXPIREAT', key, at, 'GT')
end

local function adopt_act(key, expiry, n, theirs, new_ms)
    local mine = redis.call('HGET', key, n) or struct.pack('<I4', 0)
    local known, hashes = {}, string.sub(mine, 5)
    for at = 5, #mine, 4 do
        known[string.sub(mine, at, at + 3)] = true
    end
    for at = 5, #theirs, 4 do
        local hash = string.sub(theirs, at, at + 3)
        if not known[hash] and #hashes < 4 * MAX_HASHES then
            hashes = hashes .. hash
        end
    end
    local both = struct.pack('<I4', math.min(struct.unpack('<I4', mine) + new_ms, MAX_TOTAL)) .. hashes
    if both ~= mine then
        redis.call('HSET', key, n, both)
        redis.call('EXPIREAT', key, expiry, 'NX')
    end
end

local function ts_of(entry)
    return tonumber(string.match(entry, '^%d+'))
end

local function earlier(a, b)
    local ts_a, ts_b = ts_of(a), ts_of(b)
    return ts_a < ts_b or (ts_a == ts_b and a < b)
end

-- Searches of both, by time, the newest.
local function adopt_searches(key, expiry, theirs, after_ms)
    local entries, known, added = redis.call('LRANGE', key, 0, -1), {}, false
    for _, entry in ipairs(entries) do
        known[entry] = true
    end
    for _, entry in ipairs(theirs) do
        if not known[entry] and ts_of(entry) > after_ms then
            entries[#entries + 1], added = entry, true
        end
    end
    if added then
        table.sort(entries, earlier)
        redis.call('LTRIM', key, 1, 0)
        redis.call('RPUSH', key, unpack(entries, math.max(1, #entries - MAX_SEARCHES + 1)))
        expire_later(key, expiry)
    end
end

local function mask_of(buckets, after_ms, bucket_days)
    local mask = { all = 0, adopted = 0 }
    for _, bucket in ipairs(buckets) do
        local one = bit.lshift(1, bucket % CODES)
        mask.all = bit.bor(mask.all, one)
        if bucket * bucket_days * DAY_MS > after_ms then
            mask.adopted = bit.bor(mask.adopted, one)
        end
    end
    return mask
end

local function newest_place(words, order)
    local newest = 0
    for at = 1, #words, 4 do
        newest = math.max(newest, order[math.floor(string.byte(words, at) % ITEM / CODE)] or 0)
    end
    return newest
end

--   keys  1 users  2 erased  3 seen  4 searches  then for each live bucket, oldest first: counts of its first day, acts
--   args  1 user  2 key of pseudonyms  3 days of a bucket  4 expiry of searches  5 last visit, 6 words, 7 claims of the
--         other  8 number of live buckets  then for each of them: its number, expiry of seen and acts, and of counts
--         then number of searches, the searches, and the acts, as nightfeed_lend gives them
--   reply how many items the person had not seen
--
-- Counts are corrected on the first day of the bucket in which the other saw the item first: no later than it counted,
-- so that nothing counts as less than nothing when days pass out of a window. Of a person who was erased, only buckets
-- that began after that are adopted.
local function adopt(keys, args)
    local user, live, buckets, expiries = args[1], tonumber(args[8]), {}, {}
    for i = 1, live do
        local at = 9 + (i - 1) * 3
        buckets[i], expiries[i] = tonumber(args[at]), { args[at + 1], args[at + 2] }
    end
    local erased = erased_at(keys[2], args[2], user)
    local mask, order = mask_of(buckets, erased, tonumber(args[3])), order_of(buckets)
    local own, other = redis.call('GET', keys[3]) or '', args[6]
    local mine, theirs = summed(own, mask.all, order), summed(other, mask.adopted, order)
    local new = 0
    for n in pairs(theirs) do
        new = new + (mine[n] and 0 or 1)
    end
    local words = united(own, mine, other, theirs, mask)
    if words ~= own and words ~= '' then
        redis.call('SET', keys[3], words, 'KEEPTTL')
        expire_later(keys[3], expiries[newest_place(words, order)][1])
    end
    for place, counts in pairs(count_corrections(mine, theirs, args[7])) do
        if redis.call('APPEND', keys[3 + 2 * place], counts) == #counts then
            redis.call('EXPIREAT', keys[3 + 2 * place], expiries[place][2])
        end
    end
    local at = 9 + 3 * live
    local searches = {}
    for i = 1, tonumber(args[at]) do
        searches[i] = args[at + i]
    end
    adopt_searches(keys[4], args[4], searches, erased)
    for i = at + #searches + 1, #args, 4 do
        local place = tonumber(args[i])
        if is_live(mask.adopted, buckets[place] % CODES) then
            adopt_act(keys[4 + 2 * place], expiries[place][1], args[i + 1], args[i + 2], tonumber(args[i + 3]))
        end
    end
    if args[5] ~= '' and tonumber(args[5]) > erased then
        redis.call('ZADD', keys[1], 'GT', args[5], user)
    end
    return new
end

redis.register_function('nightfeed_lend', lend)
redis.register_function('nightfeed_adopt', adopt)
