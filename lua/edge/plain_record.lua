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
local KEYS, ARGUMENTS = 3, 5                                                    -- of each person, of a call
local REPEATS, CLICKS, ERASED = 16384, 128, -1                                  -- of a reply

-- What goes into a call of one person, and is packed here. Every request writes all this over: nothing yields before
-- the copies.
ffi.cdef [[
#pragma pack(push, 1)
typedef struct { uint32_t visit, expiry; uint8_t length, count; uint8_t rest[528]; } nightfeed_person;
#pragma pack(pop)
]]
local HEAD = 10
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

-- By partition and length of the id, as Redis's protocol wants them: a person's keys, up to the id in the last one.
local heads = {}

local function make_head(user, partition)
    local seen, known = keys.seen(user), heads[partition] or {}
    heads[partition] = known
    known[#user] = bulk(keys.users(partition)) .. bulk(keys.erased(partition)) .. "$" .. #seen .. "\r\n"
        .. sub(seen, 1, -#user - 1)
    return known[#user]
end

local function head_of(user, partition)
    local known = heads[partition]
    return known and known[#user] or make_head(user, partition)
end

-- How a call for so many people begins.
local beginnings = {}

local function beginning(size)
    local named = 1 + KEYS * size
    local text = "*" .. 3 + named + ARGUMENTS .. "\r\n$5\r\nFCALL\r\n$15\r\nnightfeed_plain\r\n" .. bulk(named .. "")
    beginnings[size] = text
    return text
end

local request = buffer.new(16384)

-- The call for some people, as text.
local function compose(call, parts, size)
    local length, marked = 0, 0
    buffer.clear(request)
    add(request, beginnings[size] or beginning(size))
    add(request, bulk(keys.count(keys.partition(parts[1].user), call.day)))
    for i = 1, size do
        local part = parts[i]
        add(request, part.head)
        add(request, part.user)
        add(request, "\r\n")
        length, marked = length + #part.person, marked + #part.counts
    end
    add(request, call.arguments)
    add(request, "$" .. length .. "\r\n")
    for i = 1, size do
        add(request, parts[i].person)
    end
    add(request, "\r\n$" .. marked .. "\r\n")
    for i = 1, size do
        add(request, parts[i].counts)
    end
    add(request, "\r\n")
    return buffer.text(request)
end

-- The last call that was made: that of all events of a day, as long as the same buckets are live.
local last = { day = -1, mask = -1, arguments = "", compose = compose }

local function call_of(day, mask)
    if last.day ~= day or last.mask ~= mask then
        local arguments = bulk(("%.0f"):format(mask)) .. bulk(keys.day_expiry(day) .. "") .. bulk(config.erasure_key)
        last = { day = day, mask = mask, arguments = arguments, compose = compose }
    end
    return last
end

-- Writes the `count` events of a person that were packed, the newest of `newest` ms; they are all of a beacon. Returns
-- how many impressions and clicks counted, and how many were seen already; false when the person was erased at some
-- time, and nothing was written; nil, err when Redis has nothing of it, as far as is known.
function _M.write(user, count, day, newest, now_ms)
    local partition, length = keys.partition(user), #user
    person.visit, person.expiry = keys.visit_of(newest), keys.bucket_expiry(keys.bucket_of(newest), user)
    person.length, person.count = length, count
    copy(person.rest, user, length)
    copy(person.rest + length, words, 4 * count)
    local reply, err = store.join(call_of(day, keys.live_mask(now_ms)), {
        head = head_of(user, partition), user = user,
        person = string_of(person, HEAD + length + 4 * count), counts = string_of(counts, 4 * count),
    })
    if not reply then
        return nil, err
    elseif reply == ERASED then
        return false
    end
    return reply % CLICKS, floor(reply / CLICKS) % CLICKS, floor(reply / REPEATS)
end

return _M
