-- What a person has seen, exactly: the whole set is read on each page, and its item numbers stamp an array.
--
-- Mutable state, per worker: one FFI array of a number per item, shared by all requests. A request takes two new
-- stamps and compares for equality or order, so that nothing is ever cleared; nothing may yield between begin() and
-- the last look at the array.

local ffi = require("ffi")
local keys = require("edge.keys")
local rows = require("edge.rows")
local store = require("edge.store")

local cast, fill, sizeof = ffi.cast, ffi.fill, ffi.sizeof
local band, bxor, rshift, tobit = bit.band, bit.bxor, bit.rshift, bit.tobit
local tonumber, type = tonumber, type

local u8 = ffi.typeof("const uint8_t *")
local u32 = ffi.typeof("const uint32_t *")
local i32 = ffi.typeof("const int32_t *")
local new_stamps = ffi.typeof("uint32_t[?]")

local INTSET, WIDTH, FOOTER = 11, 4, 10     -- a dump's first byte; bytes a member; version and checksum at its end
-- A member, less 2^31: item number * 2^7 + bucket code * 2^2 + flags.
local ZERO, ITEM_SHIFT, CODE_SHIFT, CODE_MASK = -2147483648, 7, 2, 31
local LAST_STAMP = 4294967290

local _M = {}

local stamps, room, stamp = new_stamps(1), 0, 0
-- Appends the DUMP of the person's set to a pipeline.
function _M.ask(commands, user)
    commands[#commands + 1] = { "DUMP", keys.seen(user) }
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

-- A dumped intset's members as pointer and count; nil when the dump holds another encoding.
local function members_of(dump)
    local bytes = cast(u8, dump)
    local start = content_start(bytes)
    if bytes[0] ~= INTSET or not start or #dump < start + 8 + FOOTER then
        return nil
    end
    local header = cast(u32, bytes + start)
    local width, count = header[0], header[1]
    if width ~= WIDTH or #dump ~= start + 8 + WIDTH * count + FOOTER then
        return nil
    end
    return cast(i32, bytes + start + 8), count
end

-- A dump that is not an intset, of a very big set for instance, is asked for again as SMEMBERS.
-- The reply to use from then on, or nil and why when Redis fails.
function _M.complete(command, reply)
    if not reply or members_of(reply) then
        return reply
    end
    local replies, err = store.exec({ { "SMEMBERS", command[2] } })
    if not replies then
        return nil, err
    end
    return replies[1]
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

-- Stamps an item that a member of a live bucket names.
local function stamp_member(member, live, value)
    local word = bxor(member, ZERO)
    local n = rshift(word, ITEM_SHIFT)
    if n <= room and band(rshift(live, band(rshift(word, CODE_SHIFT), CODE_MASK)), 1) == 1 then
        stamps[n] = value
    end
end

-- Stamps everything in the reply as seen. Never yields.
function _M.stamp(reply, now, value)
    local live = tobit(keys.live_mask(now * 1000))
    if type(reply) == "string" then
        local pointer, count = members_of(reply)
        for i = 0, count - 1 do
            stamp_member(pointer[i], live, value)
        end
    elseif reply then
        for i = 1, #reply do
            stamp_member(tonumber(reply[i]), live, value)
        end
    end
end

return _M
