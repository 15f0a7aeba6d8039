-- What people saw lately, as this server acknowledged it: what is left out of a page while Redis cannot be asked.
--
-- One entry a person and item in memory that all workers share, bounded: the oldest entries make room for new ones.
-- While Redis answers nothing reads it: seen sets are the truth. An entry lasts an hour.

local ffi = require("ffi")

local cast, rshift = ffi.cast, bit.rshift
local u32 = ffi.typeof("const uint32_t *")

local shared = ngx.shared.nightfeed_recent

local KEPT_S = 3600
local SHIFT = 7              -- of the item in a word of a seen set

local _M = {}

local function key(user, number)
    return user .. " " .. number
end

function _M.add(user, events)
    for i = 1, #events do
        local number = events[i].number
        if number then
            shared:set(key(user, number), true, KEPT_S)
        end
    end
end

-- What one person saw is from now on what another saw, too. words: a seen set.
function _M.adopt(user, other, words)
    local set = cast(u32, words)
    for i = 0, #words / 4 - 1 do
        local number = rshift(set[i], SHIFT)
        if shared:get(key(other, number)) then
            shared:set(key(user, number), true, KEPT_S)
        end
    end
end

-- Another store numbers its items anew: what is known by number means nothing then.
function _M.forget_all()
    shared:flush_all()
end

function _M.has(user, number)
    return shared:get(key(user, number)) ~= nil
end

return _M
