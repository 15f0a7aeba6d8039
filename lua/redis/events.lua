#!lua name=nightfeed_events
-- Beacons as atomic steps: nightfeed_record writes one of one person, of any events, nightfeed_plain those of many
-- people that are of plain events alone, as nearly all are. Every key is passed by the caller.
--
-- nightfeed_record; all keys share the person's hash tag:
--   keys  1 users  2 erased  3 seen  then counts of each day that the events touch
--         then acts of each bucket in which something other than an impression or click happened
--         then searches, if there is a search
--   args  1 user  2 number of days  3 mask of live buckets: bit b for bucket code b  4 expiry of the seen set
--         5 key of pseudonyms  6 oldest ts  7 the visit (ms)  8 plain events as words of the seen set  9 the same as
--         counts  10 all other events, 8 bytes each
--         then the expiry of each key from the fourth on (all Unix s), then the values of the events that have one
--   reply impressions counted, clicks counted, repeats (impressions of what was seen already)
--         or 0, 0, 0 and the time (ms) at which the person was erased: some event is not from after it, and nothing
--         was written; the caller leaves such events out and calls again
--
-- nightfeed_plain; people of any partitions, so for one server, not for a cluster:
--   keys  1 counts of the day, of any partition  then seen of each person, then erased of each, then users of each
--         whose visit is to be written
--   args  1 mask of live buckets  2 expiry of the counts  3 key of pseudonyms  4 the visit (ms)  5 number of people
--         6 people: of each the expiry of the seen set (Unix s, 4 bytes), the length of the id less 1, + 128 when the
--         visit was written before, the number of words, + 128 when the person stands in this call before (a byte
--         each), the words  7 the words of all of them as counts
--   reply a list: of each person whose events did not all count as they came, the place (from 1), and then impressions
--         + clicks * 2^7 + repeats * 2^14; or -1: nothing was written, and nightfeed_record must look closer, since the
--         person was erased at some time, or the visit is said to be written and nothing that they saw is there; or an
--         error, of that person alone
--
-- Plain events are impressions of one day (the first), each the only event of its item in this call. Most are of an
-- item about which nothing is known: what came is what is written then, without taking it apart.
--
-- Any other event is two little-endian words: item number + code of its kind * 2^25 (0 what only makes the item seen,
-- and is not counted, 1 impression, 2 click, 3 dwell, 4 reaction, 5 conversion, 6 hide, 7 search), and bucket code +
-- index of its day * 2^8 + index of its acts key * 2^16 (from 1). Values, in the order of events: for a dwell
-- "<ms>:<hash>:<cap>", for a reaction, conversion or hide "<hash>", for a search "<ts> <query>". A count is one such
-- first word; behind one for a dwell stand its milliseconds.
--
-- A seen set is a string of words, too, in any order: item number * 2^7 + bucket code * 2^2 + flags, which say what
-- happened between the user and the item in that bucket of days. Over all live buckets: an impression counts when there
-- is a word of the item and none is flagged UNCOUNTED; a click when one is flagged CLICKED, too. Each event adds or
-- flags words, and something is counted exactly when such a condition becomes true, so neither order nor repetition
-- changes a total. An item has a word in every bucket in which it had an event: it stays seen for a whole window after
-- the last of them, and what an older bucket knew of clicks and impressions is not lost when it is not live any more.

local NOTED, IMPRESSION, CLICK, DWELL, SEARCH = 0, 1, 2, 3, 7
local ITEMS = 33554432       -- 2^25
local CLICKED, UNCOUNTED = 1, 2
local CLOSER = -1            -- a reply
local AGAIN, VISITED = 128, 128
local MAX_HASHES = 64        -- dwells, reactions and conversions remembered for one user, item and bucket
local MAX_SEARCHES = 50
local FIXED_KEYS, FIXED_ARGS = 3, 10

-- By names of our own they cost a fifth of two lookups. While Redis loads a library there are none of them yet.
local call, byte, find, sub, floor, pack, unpack_words

local function bind()
    call, byte, find, sub, floor = redis.call, string.byte, string.find, string.sub, math.floor
    pack, unpack_words = struct.pack, struct.unpack
end

-- One word of an item: `item` is what is known of it: words by bucket code (where they stand, and flags as they were),
-- flags as they are now, and whether it is seen, clicked and uncounted in any live bucket.
local function learn(item, place, code, flags, mask)
    item.place[code], item.was[code] = place, flags
    if bit.band(mask, bit.lshift(1, code)) ~= 0 then
        item.now[code] = flags
        item.seen = true
        item.clicked = item.clicked or flags % UNCOUNTED == CLICKED
        item.uncounted = item.uncounted or flags >= UNCOUNTED
    end
end

-- The next word of an item behind byte `at`: where it begins (from 0), and its bucket code and flags as one number;
-- nil when there is none. `upper`: the upper three bytes of such a word, the item's number but for its lowest bit,
-- which is in `lowest` (0 or 128).
local function next_word(words, lowest, upper, at)
    repeat
        at = find(words, upper, at + 1, true)
        if at and at % 4 == 2 then
            local low = byte(words, at - 1) - lowest
            if low >= 0 and low < 128 then
                return at - 2, low
            end
        end
    until not at
    return nil
end

-- What is known of item `n`.
local function read_item(n, words, mask)
    local item = { place = {}, was = {}, now = {} }
    local lowest, upper = n % 2 * 128, sub(pack('<I4', n * 128), 2)
    local place, low = next_word(words, lowest, upper, 0)
    while place do
        learn(item, place, floor(low / 4), low % 4, mask)
        place, low = next_word(words, lowest, upper, place + 2)
    end
    return item
end

-- What is known of every item that an event names.
local function read_items(words, events, mask)
    local items = {}
    for i = 1, #events do
        local n = events[i].number
        if n > 0 and not items[n] then
            items[n] = read_item(n, words, mask)
        end
    end
    return items
end

-- Adds events, and their values as they stand from args[value] on, to a list.
local function parse_events(events, raw, args, value)
    for at = 1, #raw, 8 do
        local head, place = unpack_words('<I4I4', raw, at)
        local event = { number = head % ITEMS, code = floor(head / ITEMS), bucket = place % 256,
            day = floor(place / 256) % 256, acts = floor(place / 65536) }
        if event.code >= DWELL then
            event.value, value = args[value], value + 1
        end
        events[#events + 1] = event
    end
end

-- Whether there are words of an item that one of the plain words is of.
local function knows_any(words, plain)
    for at = 1, words ~= '' and #plain or 0, 4 do
        local first = byte(plain, at)
        if next_word(words, first - first % 128, sub(plain, at + 1, at + 3), 0) then
            return true
        end
    end
    return false
end

-- Plain words of whose items there are words, as events; and the others, and their counts, as they came.
local function part_plain(plain, counted, words)
    local known, from, new, counts = {}, 1, '', ''
    for at = 1, #plain, 4 do
        local first = byte(plain, at)
        if next_word(words, first - first % 128, sub(plain, at + 1, at + 3), 0) then
            local number = floor(unpack_words('<I4', plain, at) / 128)
            known[#known + 1] = { number = number, code = IMPRESSION, bucket = floor(first % 128 / 4), day = 1 }
            new, counts = new .. sub(plain, from, at - 1), counts .. sub(counted, from, at - 1)
            from = at + 4
        end
    end
    return known, new .. sub(plain, from), counts .. sub(counted, from)
end

-- What one call will write, gathered first so that each key gets one command. `counts`: packed words by day.
local function new_writes()
    return { counts = {}, touched = {}, impressions = 0, clicks = 0, repeats = 0 }
end

local function count(writes, event, code, by)
    local day = writes.counts[event.day]
    if not day then
        day = {}
        writes.counts[event.day] = day
    end
    day[#day + 1] = pack('<I4', event.number + code * ITEMS)
    if by then
        day[#day + 1] = pack('<I4', by)
    end
end

local function count_click(writes, event)
    writes.clicks = writes.clicks + 1
    count(writes, event, CLICK)
end

local function impression(writes, event, item)
    item.now[event.bucket] = item.now[event.bucket] or 0
    if item.seen and not item.uncounted then
        writes.repeats = writes.repeats + 1
        return
    end
    if item.uncounted then
        for code, flags in pairs(item.now) do
            item.now[code] = flags % UNCOUNTED
        end
    end
    item.seen, item.uncounted = true, false
    writes.impressions = writes.impressions + 1
    count(writes, event, IMPRESSION)
    if item.clicked then
        count_click(writes, event)
    end
end

-- Whatever a person did with an item, the item is known to them from then on.
local function mark_known(event, item)
    local flags = item.now[event.bucket] or 0
    if not item.seen or item.uncounted then
        flags = flags % UNCOUNTED + UNCOUNTED
        item.uncounted = true
    end
    item.now[event.bucket] = flags
    item.seen = true
end

local function click(writes, event, item)
    mark_known(event, item)
    if not item.clicked and not item.uncounted then
        count_click(writes, event)
    end
    local flags = item.now[event.bucket]
    item.now[event.bucket] = flags - flags % UNCOUNTED + CLICKED
    item.clicked = true
end

local function unpack_acts(raw)
    if not raw then
        return 0, {}, {}
    end
    local total = unpack_words('<I4', raw)
    local order, known = {}, {}
    for at = 5, #raw, 4 do
        local hash = unpack_words('<I4', raw, at)
        order[#order + 1] = hash
        known[hash] = true
    end
    return total, order, known
end

local function pack_acts(total, order)
    local parts = { pack('<I4', total) }
    for i, hash in ipairs(order) do
        parts[i + 1] = pack('<I4', hash)
    end
    return table.concat(parts)
end

-- Dwells add up to a cap; reactions, conversions and hides count once each.
-- A dwell beyond the cap changes nothing however often it comes, so that it needs no place among the hashes.
local function act(writes, event, key)
    local total, order, known = unpack_acts(call('HGET', key, event.number))
    local ms, hash, cap = string.match(event.value, '^(%d+):(%d+):(%d+)$')
    hash = tonumber(hash or event.value)
    local by = ms and math.min(tonumber(ms), tonumber(cap) - total) or 1
    if by <= 0 or known[hash] or #order >= MAX_HASHES then
        return
    end
    order[#order + 1] = hash
    call('HSET', key, event.number, pack_acts(ms and total + by or total, order))
    writes.touched[event.acts] = true
    count(writes, event, event.code, ms and by)
end

-- Whether search `a` comes before `b`: by time, then by text. An entry is "<ts> <query>".
local function earlier(a, b)
    local ts_a, ts_b = tonumber(string.match(a, '^%d+')), tonumber(string.match(b, '^%d+'))
    return ts_a < ts_b or (ts_a == ts_b and a < b)
end

-- Searches stand in the order of their time, whatever the order they came in; the oldest beyond the limit go.
local function search(key, entry)
    local entries = call('LRANGE', key, 0, -1)
    local at = #entries
    while at > 0 and earlier(entry, entries[at]) do
        at = at - 1
    end
    if entries[at] == entry or (at == 0 and #entries >= MAX_SEARCHES) then
        return
    end
    if at == #entries then
        call('RPUSH', key, entry)
    else
        call('LINSERT', key, 'BEFORE', entries[at + 1], entry)
    end
    call('LTRIM', key, -MAX_SEARCHES, -1)
end

-- GT alone leaves a key without an expiry as it is.
local function expire_later(key, at)
    call('EXPIREAT', key, at, 'NX')
    call('EXPIREAT', key, at, 'GT')
end

-- Whether the word that begins at a byte is of a live bucket.
local function is_live(words, at, mask)
    return bit.band(mask, bit.lshift(1, floor(byte(words, at) % 128 / 4))) ~= 0
end

-- The words of live buckets. They mostly stand in the order of time: the dead ones are the first.
local function live_words(words, mask)
    local first = 1
    while first <= #words and not is_live(words, first, mask) do
        first = first + 4
    end
    return first > 1 and sub(words, first) or words
end

-- The bits of a bucket's code in the first byte of a word.
local function bucket_bits(first)
    return first % 128 - first % 4
end

-- The bucket that was written last, as the bits of its code; nil when there is none.
local function last_bucket(words)
    return words ~= '' and bucket_bits(byte(words, -4)) or nil
end

-- Whether all events are of the bucket that was written last: the set lives long enough for them then.
local function same_bucket(words, plain, raw)
    local last = last_bucket(words)
    if plain ~= '' and bucket_bits(byte(plain)) ~= last then
        return false
    end
    for at = 5, #raw, 8 do
        if byte(raw, at) * 4 ~= last then
            return false
        end
    end
    return last ~= nil
end

-- Lets a seen set live for what was written now; `words`: as it was before. With the first event of a later bucket, the
-- words that are no longer live go.
local function prolong(key, words, expiry, mask)
    if words == '' then
        call('EXPIREAT', key, expiry)
    elseif call('EXPIREAT', key, expiry, 'GT') == 1 and not is_live(words, 1, mask) then
        call('SET', key, live_words(call('GET', key), mask), 'KEEPTTL')
    end
end

local function append(key, new)
    if new ~= '' then
        call('APPEND', key, new)
    end
end

-- Sets the flags of words that have others now; the words that are new, as one string behind `new`.
local function changed_words(key, items, new)
    local more = { new }
    for n, item in pairs(items) do
        for code, flags in pairs(item.now) do
            local was = item.was[code]
            if not was then
                more[#more + 1] = pack('<I4', n * 128 + code * 4 + flags)
            elseif was ~= flags then
                call('SETRANGE', key, item.place[code], string.char(n % 2 * 128 + code * 4 + flags))
            end
        end
    end
    return table.concat(more)
end

local function append_count(key, raw, expiry)
    if call('APPEND', key, raw) == #raw then
        call('EXPIREAT', key, expiry)
    end
end

-- The gathered writes: one command a key. Redis refuses the whole call before it begins when memory is out.
local function write_counts(writes, keys, args)
    for day, words in pairs(writes.counts) do
        append_count(keys[FIXED_KEYS + day], table.concat(words), args[FIXED_ARGS + day])
    end
end

-- When the person was erased, Unix ms, or nil. Whoever was erased is known by a pseudonym: two SHA-1 with a key each,
-- as HMAC does it. worker/store/erasures.py makes the same.
local function erased_at(key, secret, user)
    if call('EXISTS', key) == 0 then
        return nil
    end
    local half = #secret / 2
    local inner = redis.sha1hex(sub(secret, 1, half) .. user)
    return tonumber(call('ZSCORE', key, redis.sha1hex(sub(secret, half + 1) .. inner)) or nil)
end

-- What the other events, and impressions of items that are known, come to; those writes that are left to do.
local function apply(events, words, keys, args)
    local days, writes, items = tonumber(args[2]), new_writes(), read_items(words, events, tonumber(args[3]))
    for i = 1, #events do
        local event = events[i]
        if event.code == IMPRESSION then
            impression(writes, event, items[event.number])
        elseif event.code == CLICK then
            click(writes, event, items[event.number])
        elseif event.code == NOTED then
            mark_known(event, items[event.number])
        elseif event.code == SEARCH then
            search(keys[#keys], event.value)
            expire_later(keys[#keys], args[FIXED_ARGS + #keys - FIXED_KEYS])
        else
            mark_known(event, items[event.number])
            act(writes, event, keys[FIXED_KEYS + days + event.acts])
        end
    end
    for index in pairs(writes.touched) do
        call('EXPIREAT', keys[FIXED_KEYS + days + index], args[FIXED_ARGS + days + index], 'NX')
    end
    return writes, items
end

local function record(keys, args)
    bind()
    local erased = erased_at(keys[2], args[5], args[1])
    if erased and tonumber(args[6]) <= erased then
        return { 0, 0, 0, erased }
    end
    local words, plain, raw, mask = call('GET', keys[3]) or '', args[8], args[10], tonumber(args[3])
    local known, new, counted = part_plain(plain, args[9], words)
    local impressions, clicks, repeats = #new / 4, 0, 0
    call('ZADD', keys[1], 'GT', args[7], args[1])
    if known[1] or raw ~= '' then
        local events = known
        parse_events(events, raw, args, FIXED_ARGS + 1 + #keys - FIXED_KEYS)
        local writes, items = apply(events, words, keys, args)
        impressions, clicks, repeats = impressions + writes.impressions, writes.clicks, writes.repeats
        new = changed_words(keys[3], items, new)
        write_counts(writes, keys, args)
    end
    append(keys[3], new)
    if not same_bucket(words, plain, raw) then
        prolong(keys[3], words, args[4], mask)
    end
    if counted ~= '' then
        append_count(keys[FIXED_KEYS + 1], counted, args[FIXED_ARGS + 1])
    end
    return { impressions, clicks, repeats }
end

-- Notes what came of the person of a group whose turn it is, when not all of it counted, and what is to be counted
-- instead.
local function differ(group, reply, counted)
    local replies, counts = group.replies, group.counted
    replies[#replies + 1], replies[#replies + 2] = group.turn, reply
    counts[#counts + 1] = sub(group.counts, group.copied, group.from - 1) .. counted
    group.copied = group.behind
end

-- The events of the person whose turn it is, of which some are of items that are known. The reply, and what is to be
-- counted.
local function record_known(group, key, words, plain)
    local known, new, counted = part_plain(plain, sub(group.counts, group.from, group.behind - 1), words)
    local writes, items = new_writes(), read_items(words, known, group.mask)
    for i = 1, #known do
        impression(writes, known[i], items[known[i].number])
    end
    local reply = #new / 4 + writes.impressions + writes.clicks * 128 + writes.repeats * 16384
    append(key, changed_words(key, items, new))
    return reply, counted .. table.concat(writes.counts[1] or {})
end

-- The events of the person whose turn it is and whose id has that length; `again`: somebody before was the same person;
-- `visited`: the visit was written before. Who has no seen set then was removed since, or never came.
local function record_person(group, key, length, plain, again, visited)
    local keys, turn, size = group.keys, group.turn, group.size
    if group.some_erased and erased_at(keys[size + 1 + turn], group.secret, sub(key, -length)) then
        return differ(group, CLOSER, '')
    end
    local words = group.known[turn] or ''
    if again then
        words = call('GET', key) or ''
    end
    if not visited then
        call('ZADD', keys[group.users], 'GT', group.visit, sub(key, -length))
    elseif words == '' then
        return differ(group, CLOSER, '')
    end
    local reply, counted
    if knows_any(words, plain) then
        reply, counted = record_known(group, key, words, plain)
    else
        call('APPEND', key, plain)
    end
    if last_bucket(words) ~= group.bucket then
        prolong(key, words, unpack_words('<I4', group.people, group.at), group.mask)
    end
    if reply then
        differ(group, reply, counted)
    end
end

-- Everybody of a group from its next person on. Whoever it fails for has had their turn.
local function record_people(group)
    local people, keys, stop, behind = group.people, group.keys, group.stop, group.behind
    for turn = group.turn + 1, group.size do
        group.turn, group.from = turn, behind
        local at, key = stop, keys[turn + 1]
        local length, number = byte(people, at + 4, at + 5)
        local again, visited = number >= AGAIN, length >= VISITED
        local size = again and 4 * (number - AGAIN) or 4 * number
        stop, behind = at + 6 + size, behind + size
        group.at, group.stop, group.behind = at, stop, behind
        if not visited then
            group.users = group.users + 1
        end
        record_person(group, key, length % VISITED + 1, sub(people, at + 6, stop - 1), again, visited)
    end
end

-- What pcall gave for an error, a text or a table by Redis's version, as a reply.
local function error_of(caught)
    return { err = type(caught) == 'table' and caught.err or tostring(caught) }
end

-- What is wrong with one person's keys must not end the call before the others are counted. One table is a whole group:
-- Redis has to collect what is made here.
--   turn     whose it is    at, stop      their part of `people`      from, behind  their part of `counts`
--   copied   where the counts begin that are not among those `counted` yet
--   users    the place among the keys of the last users that were used
local function record_plain(keys, args)
    bind()
    local size, people = tonumber(args[5]), args[6]
    local group = {
        keys = keys, size = size, mask = tonumber(args[1]), secret = args[3], visit = args[4], people = people,
        counts = args[7], users = 2 * size + 1, known = call('MGET', unpack(keys, 2, size + 1)),
        bucket = bucket_bits(byte(people, 7)),
        some_erased = call('EXISTS', unpack(keys, size + 2, 2 * size + 1)) > 0,
        turn = 0, at = 1, stop = 1, from = 1, behind = 1, copied = 1, counted = {}, replies = {},
    }
    repeat
        local done, caught = pcall(record_people, group)
        if not done then
            differ(group, error_of(caught), '')
        end
    until group.turn >= size
    local counted = table.concat(group.counted) .. sub(group.counts, group.copied)
    if counted ~= '' then
        append_count(keys[1], counted, args[2])
    end
    return group.replies
end

-- Declared as writing (no flags) and writing nothing: Redis refuses it whenever it would refuse a beacon, because
-- memory is out, the disk is full, or it is a read-only replica. That is what the edge's /readyz asks.
local function ready()
    return 'OK'
end

redis.register_function('nightfeed_record', record)
redis.register_function('nightfeed_plain', record_plain)
redis.register_function('nightfeed_ready', ready)
