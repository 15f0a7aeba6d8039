-- What a person has seen, exactly: every live bucket is read on each page, and its numbers stamp an array.
--
-- Mutable state, per worker: one FFI array of a number per item, shared by all requests. A request takes two new
-- stamps and compares for equality or order, so that nothing is ever cleared; nothing may yield between begin() and
-- the last look at the array.

local ffi = require("ffi")
local keys = require("edge.keys")
local rows = require("edge.rows")
local store = require("edge.store")

local cast, fill, sizeof = ffi.cast, ffi.fill, ffi.sizeof
local rshift = bit.rshift
local tonumber, type = tonumber, type

local u8 = ffi.typeof("const uint8_t *")
local u32 = ffi.typeof("const uint32_t *")
local WIDTHS = {
    [2] = ffi.typeof("const int16_t *"), [4] = ffi.typeof("const int32_t *"), [8] = ffi.typeof("const int64_t *"),
}
local new_stamps = ffi.typeof("uint32_t[?]")

local INTSET, FOOTER = 11, 10     -- a dump's first byte; version and checksum at its end
local LAST_STAMP = 4294967290

local _M = {}

local stamps, room, stamp = new_stamps(1), 0, 0
local buckets, buckets_at = nil, 0

-- Appends one DUMP for each live bucket to a pipeline.
function _M.ask(commands, user, now)
    if buckets_at ~= now then
        buckets, buckets_at = keys.live_buckets(now * 1000), now
    end
    for i = 1, #buckets do
        commands[#commands + 1] = { "DUMP", keys.seen(user, buckets[i]) }
    end
end

-- Where a dumped string's content begins behind its length (RDB format), or nil when it is compressed.
local function content_start(bytes)
    local form = rshift(bytes[1], 6)
    if form == 0 then
        return 2
    elseif form == 1 then
        return 3
    elseif bytes[1] == 128 then
        return 6
    end
end

-- A dumped intset's integers as pointer and count; nil when the dump holds another encoding.
local function integers(dump)
    local bytes = cast(u8, dump)
    local start = content_start(bytes)
    if bytes[0] ~= INTSET or not start or #dump < start + 8 + FOOTER then
        return nil
    end
    local header = cast(u32, bytes + start)
    local width, count = header[0], header[1]
    if not WIDTHS[width] or #dump ~= start + 8 + width * count + FOOTER then
        return nil
    end
    return cast(WIDTHS[width], bytes + start + 8), count
end

-- Replies that are not an intset, big sets for instance, are asked for again as SMEMBERS; the rest stays.
-- True, or nil and why when Redis fails.
function _M.complete(commands, replies, first)
    local again, places
    for i = first, #commands do
        local dump = replies[i]
        if dump and not integers(dump) then
            again, places = again or {}, places or {}
            again[#again + 1], places[#places + 1] = { "SMEMBERS", commands[i][2] }, i
        end
    end
    if not again then
        return true
    end
    local members, err = store.exec(again)
    if not members then
        return nil, err
    end
    for i = 1, #places do
        replies[places[i]] = members[i]
    end
    return true
end

-- The array and this request's two stamps' lower one, c: below c an item is untouched; c: it is in the user's list;
-- c + 1: it was seen.
function _M.begin()
    local capacity = rows.capacity()
    if capacity > room then
        stamps, room, stamp = new_stamps(capacity + 1), capacity, 0
    elseif stamp >= LAST_STAMP then
        fill(stamps, sizeof(stamps))
        stamp = 0
    end
    stamp = stamp + 2
    return stamps, stamp
end

-- Members are item numbers; negative ones (clicked) and those beyond all items (markers) say nothing new.
local function stamp_integers(pointer, count, value)
    local array, highest = stamps, room
    for i = 0, count - 1 do
        local n = tonumber(pointer[i])
        if n > 0 and n <= highest then
            array[n] = value
        end
    end
end

local function stamp_members(members, value)
    for i = 1, #members do
        local n = tonumber(members[i])
        if n > 0 and n <= room then
            stamps[n] = value
        end
    end
end

-- Stamps everything in the replies from `first` on as seen. Never yields.
function _M.stamp(replies, first, value)
    for i = first, #replies do
        local reply = replies[i]
        if type(reply) == "string" then
            local pointer, count = integers(reply)
            stamp_integers(pointer, count, value)
        elseif reply then
            stamp_members(reply, value)
        end
    end
end

return _M
