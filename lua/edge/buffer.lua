-- Text that is put together from many pieces: in memory that is used again and again, so that only the whole becomes a
-- string. Each new string is looked up among all strings, and the garbage collector has to find it again.
--
-- Nothing may yield between clear() and text(): requests share a buffer.

local ffi = require("ffi")

local cast, copy, string_of = ffi.cast, ffi.copy, ffi.string
local floor, max = math.floor, math.max

local bytes, u8 = ffi.typeof("uint8_t[?]"), ffi.typeof("const uint8_t *")
local DIGITS, ZERO = 20, 48

local _M = {}

-- A buffer with room for so many bytes at first.
function _M.new(room)
    return { memory = bytes(room), room = room, length = 0 }
end

function _M.clear(buffer)
    buffer.length = 0
end

local function grow(buffer, wanted)
    local room = max(wanted, 2 * buffer.room)
    local memory = bytes(room)
    copy(memory, buffer.memory, buffer.length)
    buffer.memory, buffer.room = memory, room
end

-- Adds a string, but for its first `without` bytes (none).
function _M.add(buffer, text, without)
    without = without or 0
    local length, size = buffer.length, #text - without
    if length + size > buffer.room then
        grow(buffer, length + size)
    end
    copy(buffer.memory + length, cast(u8, text) + without, size)
    buffer.length = length + size
end

-- Adds `size` bytes of any memory.
function _M.add_bytes(buffer, bytes_at, size)
    local length = buffer.length
    if length + size > buffer.room then
        grow(buffer, length + size)
    end
    copy(buffer.memory + length, bytes_at, size)
    buffer.length = length + size
end

-- Adds a whole number that is not negative, in decimal digits.
function _M.add_number(buffer, number)
    local from, power = buffer.length, 10
    if from + DIGITS > buffer.room then
        grow(buffer, from + DIGITS)
    end
    local to = from + 1
    while number >= power do
        power, to = power * 10, to + 1
    end
    local memory, rest = buffer.memory, number
    for at = to - 1, from, -1 do
        local tenth = floor(rest / 10)
        memory[at], rest = ZERO + rest - tenth * 10, tenth
    end
    buffer.length = to
end

-- All that was added, as a string.
function _M.text(buffer)
    return string_of(buffer.memory, buffer.length)
end

return _M
