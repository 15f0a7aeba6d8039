-- One impression as beacon.js writes it, its fields in that order and nothing else: nearly every event there is.
--
-- Words of four bytes are compared instead of letters, digits are read without loops, and no string is made but the
-- item's: a loop of a few rounds costs LuaJIT more than its rounds do. Whatever is not like that is left to edge.plain.

local events = require("edge.events")
local ffi = require("ffi")
local is_word = require("edge.text").is_word

local cast, string_of = ffi.cast, ffi.string
local MAX_POSITION, MAX_LIST = events.LIMITS.position, events.LIMITS.list

local u32 = ffi.typeof("const uint32_t *")

-- Four bytes of a text as they are read on a little-endian machine.
local function four(text)
    return cast(u32, text)[0]
end

local TS, TS_END = four('{"ts'), 0x3a22                        -- `":`
local POSI, TION, ON = four(',"po'), four("siti"), four('on":')
local LI, ST = four(',"li'), four('st":')
local KIND = { four(',"ev'), four('ent"'), four(':"im'), four("pres"), four("sion"), four('","i'), four('tem"') }
local KIND1, KIND2, KIND3, KIND4, KIND5, KIND6, KIND7 = unpack(KIND)
local KIND_END = 0x223a                                         -- `:"`
local KIND_BYTES = 30
-- The shortest there can be behind a `{`, and behind a number: the kind, one letter, `"}` and what ends a body.
local SHORTEST, REST = 54, KIND_BYTES + 4
local QUOTE, CLOSE = 34, 125
local LONGEST = 128

-- What a byte is as a digit; NONE and more for what is none.
local NONE = 1000
local digit = ffi.new("int32_t[256]")
for code = 0, 255 do
    digit[code] = code >= 48 and code <= 57 and code - 48 or NONE
end

-- The first eight digits of the last moment, as two words and as a number: the same for a hundred seconds.
local first_word, second_word, beginning = 0, 0, 0

local _M = {}

-- The moment of thirteen digits at `at`, ms; nil when it is none.
local function moment(text, at)
    local one, two = cast(u32, text + at)[0], cast(u32, text + at + 4)[0]
    if one ~= first_word or two ~= second_word then
        local value = 0
        for i = at, at + 7 do
            value = value * 10 + digit[text[i]]
            if digit[text[i]] == NONE then
                return nil
            end
        end
        first_word, second_word, beginning = one, two, value
    end
    local a, b, c = digit[text[at + 8]], digit[text[at + 9]], digit[text[at + 10]]
    local d, e = digit[text[at + 11]], digit[text[at + 12]]
    if a + b + c + d + e >= NONE then
        return nil
    end
    return beginning * 100000 + a * 10000 + b * 1000 + c * 100 + d * 10 + e
end

-- The number of one to four digits at `at`, and the place behind it; nil when it is none, or longer.
local function number(text, at)
    local a, b, c, d = digit[text[at]], digit[text[at + 1]], digit[text[at + 2]], digit[text[at + 3]]
    if a == NONE or (a == 0 and b ~= NONE) then
        return nil
    elseif b == NONE then
        return a, at + 1
    elseif c == NONE then
        return a * 10 + b, at + 2
    elseif d == NONE then
        return a * 100 + b * 10 + c, at + 3
    elseif digit[text[at + 4]] == NONE then
        return a * 1000 + b * 100 + c * 10 + d, at + 4
    end
    return nil
end

-- The place behind the number at `at`, which is at most `most`; nil when it is not, or too little can follow.
local function behind_number(text, at, most, stop)
    local value, after = number(text, at)
    return value and value <= most and after + REST <= stop and after or nil
end

-- The place behind `,"position":…` and `,"list":…` at `at`, as far as they are there; false or nil when one is wrong.
local function behind_places(text, at, stop)
    local words = cast(u32, text + at)
    if words[0] == POSI then
        at = words[1] == TION and words[2] == ON and behind_number(text, at + 12, MAX_POSITION, stop)
        if not at then
            return nil
        end
        words = cast(u32, text + at)
    end
    if words[0] == LI then
        at = words[1] == ST and behind_number(text, at + 8, MAX_LIST, stop)
    end
    return at
end

local function is_kind(text, at)
    local words = cast(u32, text + at)
    return words[0] == KIND1 and words[1] == KIND2 and words[2] == KIND3 and words[3] == KIND4 and words[4] == KIND5
        and words[5] == KIND6 and words[6] == KIND7 and words[7] % 65536 == KIND_END
end

-- Where the item's id begins, and the moment, of the impression whose `{` is at `at`; nil when it is not as above.
-- `stop` is the text's length.
local function head(text, at, stop)
    if at + SHORTEST > stop or cast(u32, text + at)[0] ~= TS or cast(u32, text + at + 4)[0] % 65536 ~= TS_END then
        return nil
    end
    local ts = moment(text, at + 6)
    if not ts then
        return nil
    end
    at = behind_places(text, at + 19, stop)
    if not at or not is_kind(text, at) then
        return nil
    end
    return at + KIND_BYTES, ts
end

-- The item and the moment (ms) of the impression whose `{` is at `at`, and the place behind its `}`; nil when it is not
-- as above, however right it may be.
function _M.read(text, at, stop)
    local from, ts = head(text, at, stop)
    if not from then
        return nil
    end
    at = from
    while is_word[text[at]] == 1 do
        at = at + 1
    end
    if text[at] ~= QUOTE or text[at + 1] ~= CLOSE or at == from or at - from > LONGEST then
        return nil
    end
    return string_of(text + from, at - from), ts, at + 2
end

return _M
