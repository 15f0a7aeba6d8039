-- Plain events into Redis: impressions of one day, each the only event of its item in a beacon. Nearly every beacon has
-- no others, and those of many people are then one call of nightfeed_plain (lua/redis/events.lua, edge.store).

local buffer = require("edge.buffer")
local config = require("edge.config").get()
local ffi = require("ffi")
local keys = require("edge.keys")
local resp = require("edge.resp")
local store = require("edge.store")
local visits = require("edge.visits")

local add, add_bytes = buffer.add, buffer.add_bytes
local bulk = resp.bulk
local copy, string_of = ffi.copy, ffi.string
local floor = math.floor
local remove = table.remove
local sub = string.sub

local MAX_EVENTS = 100
local IMPRESSION = 2 ^ keys.ITEM_BITS                                           -- of a count
local MARK, CODE = 2 ^ (keys.BUCKET_BITS + keys.FLAG_BITS), 2 ^ keys.FLAG_BITS  -- of a word of a seen set
local KEYS, ARGUMENTS = 2, 7                                                    -- of each person at least, of a call
local REPEATS, CLICKS, CLOSER = 16384, 128, -1                                  -- of a reply
local AGAIN, VISITED = 128, 128                                                 -- see add_people

-- What goes into a call of one person; the counts stand elsewhere in it than the rest. `length`: of the id, less 1.
ffi.cdef [[
#pragma pack(push, 1)
typedef struct { uint32_t expiry; uint8_t length, count; uint32_t words[100], counts[100]; } nightfeed_person;
#pragma pack(pop)
]]
local HEAD, LENGTH, COUNT = 6, 4, 5     -- bytes before the words, and before `length` and `count`
local new_person = ffi.typeof("nightfeed_person")

-- What is packed. Every request writes this over: nothing yields before the copies.
local words, counts = ffi.new("uint32_t[?]", MAX_EVENTS), ffi.new("uint32_t[?]", MAX_EVENTS)
-- By event, from 1 on: the item's number, and whether it is plain.
local numbers, plain = ffi.new("uint32_t[?]", MAX_EVENTS + 1), ffi.new("uint8_t[?]", MAX_EVENTS + 1)

local _M = { plain = plain }

-- Whether event `i` is the only one of its item; `numbers` holds those of `size` events.
local function is_only(i, size)
    local number = numbers[i]
    for j = 1, size do
        if numbers[j] == number and j ~= i then
            return false
        end
    end
    return true
end

-- Finds the plain events of a beacon and packs them. Returns how many they are, and their day.
function _M.pack(events)
    local size, count, day = #events, 0, nil
    for i = 1, size do
        numbers[i] = events[i].number or 0
    end
    for i = 1, size do
        local event = events[i]
        local on = keys.day_of(event.ts)
        plain[i] = event.letter == "i" and (count == 0 or on == day) and is_only(i, size) and 1 or 0
        if plain[i] == 1 then
            day = on
            words[count] = event.number * MARK + keys.bucket_of(event.ts) % keys.CODES * CODE
            counts[count] = event.number + IMPRESSION
            count = count + 1
        end
    end
    return count, day
end

-- The `count` events that were packed: as words of a seen set, and as counts.
function _M.packed(count)
    return string_of(words, 4 * count), string_of(counts, 4 * count)
end

-- As Redis's protocol wants them: the keys of a partition, and by the length of the id what a seen set's begins with.
local keys_of = {}

local function keys_of_partition(partition)
    local known = keys_of[partition]
    if not known then
        known = { erased = bulk(keys.erased(partition)), users = bulk(keys.users(partition)), seen = {} }
        keys_of[partition] = known
    end
    return known
end

local function make_head(known, user)
    local seen = keys.seen(user)
    known.seen[#user] = "$" .. #seen .. "\r\n" .. sub(seen, 1, -#user - 1)
    return known.seen[#user]
end

-- How a call for so many people begins, by size and by how many of them have no visit there yet.
local beginnings = {}

local function beginning(size, new)
    local named = 1 + KEYS * size + new
    local text = "*" .. 3 + named + ARGUMENTS .. "\r\n$5\r\nFCALL\r\n$15\r\nnightfeed_plain\r\n" .. bulk(named .. "")
    beginnings[size * 128 + new] = text
    return text
end

-- Whether the person of part `i` has one before it, too.
local function is_again(parts, i)
    local user = parts[i].user
    for j = 1, i - 1 do
        if parts[j].user == user then
            return true
        end
    end
    return false
end

local request = buffer.new(16384)

local function add_keys(parts, size)
    for i = 1, size do
        local part = parts[i]
        add(request, part.head)
        add(request, part.user)
        add(request, "\r\n")
    end
    for i = 1, size do
        add(request, parts[i].keys.erased)
    end
    for i = 1, size do
        if not parts[i].visited then
            add(request, parts[i].keys.users)
        end
    end
end

-- Redis asks again what those have seen of whom it is told that they come a second time, and writes the visit of those
-- of whom it is not told that it knows of it.
local function add_people(parts, size)
    for i = 1, size do
        local at = request.length
        add_bytes(request, parts[i].person, HEAD + 4 * parts[i].count)
        if parts[i].visited then
            request.memory[at + LENGTH] = request.memory[at + LENGTH] + VISITED
        end
        if is_again(parts, i) then
            request.memory[at + COUNT] = request.memory[at + COUNT] + AGAIN
        end
    end
end

-- The call for some people, as text.
local function compose(call, parts, size)
    local marked, new = 0, 0       -- bytes of words; people whose visit is written
    for i = 1, size do
        local part = parts[i]
        part.visited = visits.known(part.place, part.user, call.visit)
        new = part.visited and new or new + 1
        marked = marked + 4 * part.count
    end
    buffer.clear(request)
    add(request, beginnings[size * 128 + new] or beginning(size, new))
    add(request, bulk(keys.count(keys.partition(parts[1].user), call.day)))
    add_keys(parts, size)
    add(request, call.arguments)
    add(request, bulk(size .. ""))
    add(request, "$" .. size * HEAD + marked .. "\r\n")
    add_people(parts, size)
    add(request, "\r\n$" .. marked .. "\r\n")
    for i = 1, size do
        add_bytes(request, parts[i].person.counts, 4 * parts[i].count)
    end
    add(request, "\r\n")
    return buffer.text(request)
end

-- The last call that was made: that of all events of a day and visit, as long as the same buckets are live.
local last = { day = -1, mask = -1, visit = -1, arguments = "", compose = compose }

local function call_of(day, mask, visit)
    if last.day ~= day or last.mask ~= mask or last.visit ~= visit then
        local arguments = bulk(("%.0f"):format(mask)) .. bulk(keys.day_expiry(day) .. "") .. bulk(config.erasure_key)
            .. bulk(("%.0f"):format(visit * 1000))
        last = { day = day, mask = mask, visit = visit, arguments = arguments, compose = compose }
    end
    return last
end

-- What of a beacon goes into a call. Parts are used again, so that a beacon leaves less garbage; one that has failed is
-- not: whoever asked Redis may still have it.
local KEPT = 512             -- more than wait at once, but for a storm
local spare = {}

local function new_part()
    return { head = "", user = "", keys = false, count = 0, place = 0, visited = false, person = new_person() }
end

-- The part of a person's `count` events that were packed, the newest of bucket `newest`.
local function part_of(user, count, newest)
    local part, known, length = remove(spare) or new_part(), keys_of_partition(keys.partition(user)), #user
    part.head, part.user, part.keys, part.count = known.seen[length] or make_head(known, user), user, known, count
    part.place = visits.place(user)
    local person = part.person
    person.expiry, person.length, person.count = keys.bucket_expiry(newest, user), length - 1, count
    copy(person.words, words, 4 * count)
    copy(person.counts, counts, 4 * count)
    return part
end

-- Writes the `count` events of a person that were packed, the newest of `newest` ms; they are all of a beacon. Returns
-- how many impressions and clicks counted, and how many were seen already; false when nothing was written, since a
-- closer look is needed: the person was erased at some time, or is not known any more; nil, err when Redis has nothing
-- of it, as far as is known.
function _M.write(user, count, day, newest, now_ms)
    local call = call_of(day, keys.live_mask(now_ms), keys.visit_of(newest))
    local part = part_of(user, count, keys.bucket_of(newest))
    local reply, err = store.join(call, part)
    if not reply then
        return nil, err
    end
    local kept = #spare
    if kept < KEPT then
        spare[kept + 1] = part
    end
    if reply == CLOSER then
        visits.forget(part.place)
        return false
    elseif not part.visited then
        visits.note(part.place, user, call.visit)
    end
    if reply == true then
        return count, 0, 0
    end
    return reply % CLICKS, floor(reply / CLICKS) % CLICKS, floor(reply / REPEATS)
end

return _M
