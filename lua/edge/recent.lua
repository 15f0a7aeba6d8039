-- What people saw lately, as this server acknowledged it: what is left out of a page while Redis cannot be asked.
--
-- While Redis answers nothing reads it: seen sets are the truth. An entry lasts an hour, unless seven later ones that
-- fall into the same set of eight have pushed it out. Memory that all workers share; no locks: of two that write to one
-- place at the same moment one is lost. Entries are known by 32 bits of who and what: once in some hundred million
-- looks, an item is left out that its person did not see.

local ffi = require("ffi")
local mapped = require("edge.mapped")

local cast, fill = ffi.cast, ffi.fill
local band, bxor, lshift, rol, rshift, tobit = bit.band, bit.bxor, bit.lshift, bit.rol, bit.rshift, bit.tobit
local crc32 = ngx.crc32_long
local u32 = ffi.typeof("const uint32_t *")

local KEPT_S = 3600
local SHIFT = 7              -- of the item in a word of a seen set
local SETS, WAYS = 262144, 8
local BYTES = SETS * WAYS * 8

ffi.cdef "typedef struct { int32_t mark; uint32_t at; } nightfeed_recent;"
local entries = cast("nightfeed_recent *", mapped.map("recent", BYTES))

local _M = {}

-- Where the set of a person and an item begins, and what marks the item there. The mixing is Bob Jenkins's of 32 bits
-- by shifts alone (burtleburtle.net/bob/hash/integer.html).
local function place(who, number)
    local mark = bxor(who, rol(tobit(number), 13))
    local mixed = tobit(mark + tobit(0x7ed55d16) + lshift(mark, 12))
    mixed = bxor(mixed, tobit(0xc761c23c), rshift(mixed, 19))
    mixed = tobit(mixed + tobit(0x165667b1) + lshift(mixed, 5))
    mixed = bxor(tobit(mixed + tobit(0xd3a2646c)), lshift(mixed, 9))
    mixed = tobit(mixed + tobit(0xfd7046c5) + lshift(mixed, 3))
    mixed = bxor(mixed, tobit(0xb55a4f09), rshift(mixed, 16))
    return band(mixed, SETS - 1) * WAYS, mark
end

local function add(who, number, now)
    local first, mark = place(who, number)
    local chosen, oldest = first, now
    for i = first, first + WAYS - 1 do
        local entry = entries[i]
        if entry.mark == mark then
            entry.at = now
            return
        elseif entry.at < oldest then
            chosen, oldest = i, entry.at
        end
    end
    entries[chosen].at, entries[chosen].mark = now, mark
end

local function has(who, number, now)
    local first, mark = place(who, number)
    for i = first, first + WAYS - 1 do
        local entry = entries[i]
        if entry.mark == mark and entry.at > now - KEPT_S then
            return true
        end
    end
    return false
end

local function who_of(user)
    return tobit(crc32(user))
end

function _M.add(user, events)
    local who, now = who_of(user), ngx.time()
    for i = 1, #events do
        local number = events[i].number
        if number then
            add(who, number, now)
        end
    end
end

-- What one person saw is from now on what another saw, too. words: a seen set.
function _M.adopt(user, other, words)
    local mine, theirs, now, set = who_of(user), who_of(other), ngx.time(), cast(u32, words)
    for i = 0, #words / 4 - 1 do
        local number = rshift(set[i], SHIFT)
        if has(theirs, number, now) then
            add(mine, number, now)
        end
    end
end

-- Another store numbers its items anew: what is known by number means nothing then.
function _M.forget_all()
    fill(entries, BYTES)
end

function _M.has(user, number)
    return has(who_of(user), number, ngx.time())
end

return _M
