-- What a person has seen, exactly: the whole set is read on each page, and its item numbers stamp an array.
--
-- Mutable state, per worker: one FFI array of a number per item, shared by all requests. A request takes two new
-- stamps and compares for equality or order, so that nothing is ever cleared; nothing may yield between begin() and
-- the last look at the array.

local ffi = require("ffi")
local keys = require("edge.keys")
local rows = require("edge.rows")

local cast, fill, sizeof = ffi.cast, ffi.fill, ffi.sizeof
local band, rshift, tobit = bit.band, bit.rshift, bit.tobit

-- Of signed ones LuaJIT makes whole numbers without a detour; shifted, they are the same.
local i32 = ffi.typeof("const int32_t *")
local new_stamps = ffi.typeof("uint32_t[?]")

-- A word: item number * 2^7 + bucket code * 2^2 + flags.
local WORD, ITEM_SHIFT, CODE_SHIFT, CODE_MASK = 4, 7, 2, 31
local LAST_STAMP = 4294967290

local _M = {}

local stamps, room, stamp = new_stamps(1), 0, 0
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

-- Stamps every item of the seen set `words` (false: there is none). Never yields.
function _M.stamp(words, now, value)
    if not words then
        return
    end
    local live, pointer = tobit(keys.live_mask(now * 1000)), cast(i32, words)
    for i = 0, #words / WORD - 1 do
        local word = pointer[i]
        local n = rshift(word, ITEM_SHIFT)
        if n <= room and band(rshift(live, band(rshift(word, CODE_SHIFT), CODE_MASK)), 1) == 1 then
            stamps[n] = value
        end
    end
end

return _M
