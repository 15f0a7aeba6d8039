-- Plain events into Redis: impressions of one day, each the only event of its item in a beacon. Nearly every beacon has
-- no others, and those of many people are then one call of nightfeed_plain (lua/redis/events.lua, edge.store).

local buffer = require("edge.buffer")
local config = require("edge.config").get()
local ffi = require("ffi")
local keys = require("edge.keys")
local resp = require("edge.resp")
local store = require("edge.store")

local add = buffer.add
local bulk = resp.bulk
local copy, string_of = ffi.copy, ffi.string
local floor = math.floor
local sub = string.sub

local MAX_EVENTS = 100
local IMPRESSION = 2 ^ keys.ITEM_BITS                                           -- of a count
local MARK, CODE = 2 ^ (keys.BUCKET_BITS + keys.FLAG_BITS), 2 ^ keys.FLAG_BITS  -- of a word of a seen set
local KEYS, ARGUMENTS = 3, 6                                                    -- of each person, of a call
local REPEATS, CLICKS, ERASED = 16384, 128, -1                                  -- of a reply
local AGAIN = 128                                                               -- see add_people

-- What goes into a call of one person, and is packed here. Every request writes all this over: nothing yields before
-- the copies.
ffi.cdef [[
#pragma pack(push, 1)
typedef struct { uint32_t expiry; uint8_t length, count; uint32_t words[100]; } nightfeed_person;
#pragma pack(pop)
]]
local HEAD, COUNT = 6, 5     -- bytes before the words, and before `count`
local person = ffi.new("nightfeed_person")
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

-- How a call for so many people begins.
local beginnings = {}

local function beginning(size)
    local named = 1 + KEYS * size
    local text = "*" .. 3 + named + ARGUMENTS .. "\r\n$5\r\nFCALL\r\n$15\r\nnightfeed_plain\r\n" .. bulk(named .. "")
    beginnings[size] = text
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
        add(request, parts[i].keys.users)
    end
end

-- Redis asks again what those have seen of whom it is told that they come a second time.
local function add_people(parts, size)
    for i = 1, size do
        local at = request.length
        add(request, parts[i].person)
        if is_again(parts, i) then
            request.memory[at + COUNT] = request.memory[at + COUNT] + AGAIN
        end
    end
end

-- The call for some people, as text.
local function compose(call, parts, size)
    local length, marked = 0, 0
    buffer.clear(request)
    add(request, beginnings[size] or beginning(size))
    add(request, bulk(keys.count(keys.partition(parts[1].user), call.day)))
    add_keys(parts, size)
    add(request, call.arguments)
    for i = 1, size do
        length, marked = length + #parts[i].person, marked + #parts[i].counts
    end
    add(request, "$" .. length .. "\r\n")
    add_people(parts, size)
    add(request, "\r\n$" .. marked .. "\r\n")
    for i = 1, size do
        add(request, parts[i].counts)
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

-- Writes the `count` events of a person that were packed, the newest of `newest` ms; they are all of a beacon. Returns
-- how many impressions and clicks counted, and how many were seen already; false when the person was erased at some
-- time, and nothing was written; nil, err when Redis has nothing of it, as far as is known.
function _M.write(user, count, day, newest, now_ms)
    local known, length = keys_of_partition(keys.partition(user)), #user
    person.expiry, person.length, person.count = keys.bucket_expiry(keys.bucket_of(newest), user), length, count
    copy(person.words, words, 4 * count)
    local reply, err = store.join(call_of(day, keys.live_mask(now_ms), keys.visit_of(newest)), {
        head = known.seen[length] or make_head(known, user), user = user, keys = known,
        person = string_of(person, HEAD + 4 * count), counts = string_of(counts, 4 * count),
    })
    if reply == true then
        return count, 0, 0
    elseif not reply then
        return nil, err
    elseif reply == ERASED then
        return false
    end
    return reply % CLICKS, floor(reply / CLICKS) % CLICKS, floor(reply / REPEATS)
end

return _M
