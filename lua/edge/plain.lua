-- Reads a beacon in the plain form in which beacon.js writes it, in one pass over its bytes: ASCII, no white space, no
-- escapes, the known fields, each once, and nothing wrong with any event. That is nearly every beacon, for a tenth of
-- what edge.events takes for it.
--
-- Whatever else a body has in it, however right, is left to edge.events, which owns the rules: the limits here are its
-- own, and all events with more than an item and a time are checked by it.

local events = require("edge.events")
local ffi = require("ffi")
local keys = require("edge.keys")
local plain_impression = require("edge.plain_impression")
local text_rules = require("edge.text")

local cast, string_of = ffi.cast, ffi.string
local LETTERS, LIMITS = events.LETTERS, events.LIMITS
local MAX_EVENTS, MAX_POSITION, MAX_LIST, EARLIEST_MS =
    LIMITS.events, LIMITS.position, LIMITS.list, LIMITS.earliest_ms

local is_word = text_rules.is_word   -- the names of events and kinds are made of the same as ids

local u8, u32 = ffi.typeof("const uint8_t *"), ffi.typeof("const uint32_t *")

local BEGIN, LONGEST, MAX_DIGITS = '{"events":[', 128, 15
local QUOTE, COMMA, OPEN, CLOSE, CLOSE_LIST, ZERO = 34, 44, 123, 125, 93, 48
-- Names of fields by their first four bytes, as a little-endian number; the short ones with what follows them.
local EVEN, ITEM_NAME, POSI, LIST_NAME, KIND_NAME = 0x6e657665, 0x6d657469, 0x69736f70, 0x7473696c, 0x646e696b
local TS_NAME, MS_NAME, COLON = 0x3a227374, 0x3a22736d, 0x3a22
local T_QUOTE_COLON, TION = 0x3a2274, 0x6e6f6974
-- The same as places in `values`: those up to KIND hold words, the others whole numbers.
local EVENT, ITEM, KIND, TS, POSITION, LIST, MS = 1, 2, 3, 4, 5, 6, 7

-- Of the event that is being read: nothing yields meanwhile.
local values = {}

local _M = {}

-- The string that begins behind the quote at `at`, and the place behind its end; nil when it is not plain.
local function word(text, at)
    if text[at] ~= QUOTE then
        return nil
    end
    local from = at + 1
    at = from
    while is_word[text[at]] == 1 do
        at = at + 1
    end
    if text[at] ~= QUOTE or at == from or at - from > LONGEST then
        return nil
    end
    return string_of(text + from, at - from), at + 1
end

-- The whole number at `at`, and the place behind its end; nil when it is none, or too long to be exact.
local function whole(text, at)
    local from, value, digit = at, 0, text[at] - ZERO
    while digit >= 0 and digit <= 9 do
        value, at = value * 10 + digit, at + 1
        digit = text[at] - ZERO
    end
    if at == from or at - from > MAX_DIGITS or (text[from] == ZERO and at - from > 1) then
        return nil
    end
    return value, at
end

-- The field whose name begins at `at`: its place in `values`, and where its value begins; nil when it is none of ours.
-- Of the text at least 7 bytes are left, and `stop` is its length.
local function name(text, at, stop)
    local start, following = cast(u32, text + at)[0], cast(u32, text + at + 4)[0]
    if start == TS_NAME then
        return TS, at + 4
    elseif start == MS_NAME then
        return MS, at + 4
    elseif start == EVEN then
        return following % 16777216 == T_QUOTE_COLON and EVENT or nil, at + 7
    elseif start == POSI then
        local whole_name = following == TION and at + 10 <= stop and cast(u32, text + at + 8)[0] % 65536 == COLON
        return whole_name and POSITION or nil, at + 10
    end
    local field = start == ITEM_NAME and ITEM or start == LIST_NAME and LIST or start == KIND_NAME and KIND or nil
    return following % 65536 == COLON and field or nil, at + 6
end

local function is_timely(ts, now_ms)
    return ts and ts >= EARLIEST_MS and ts <= now_ms + keys.AHEAD_MS and ts >= now_ms - keys.WINDOW_MS
end

local function checked_impression(item, ts, now_ms)
    if not is_timely(ts, now_ms) then
        return nil
    end
    return { kind = "impression", letter = "i", item = item, ts = ts, index = 0, number = false, cap_ms = nil }
end

-- The event in `values`, checked, or nil. What needs a closer look gets it from edge.events.
local function checked(now_ms)
    local kind, item, ts, position, list = values[EVENT], values[ITEM], values[TS], values[POSITION], values[LIST]
    local letter = kind and LETTERS[kind]
    if letter == "i" or letter == "c" then
        if item and is_timely(ts, now_ms) and (not position or position <= MAX_POSITION)
            and (not list or list <= MAX_LIST) then
            return { kind = kind, letter = letter, item = item, ts = ts, index = 0, number = false, cap_ms = nil }
        end
        return nil
    end
    return letter and (events.check({
        event = kind, item = item or nil, ts = ts or nil, position = position or nil, list = list or nil,
        ms = values[MS] or nil, kind = values[KIND] or nil,
    }, now_ms))
end

-- The event whose first field's quote is behind `at`, and the place behind its end; nil when it is not plain.
local function any_event(text, at, stop, now_ms)
    for field = EVENT, MS do
        values[field] = false
    end
    repeat
        -- Nothing shorter than this can follow: `"ts":1}]}`, and names are read some bytes at a time.
        if text[at + 1] ~= QUOTE or at + 9 > stop then
            return nil
        end
        local field, value
        field, at = name(text, at + 2, stop)
        if not field or values[field] then
            return nil
        elseif field <= KIND then
            value, at = word(text, at)
        else
            value, at = whole(text, at)
        end
        if not value then
            return nil
        end
        values[field] = value
    until text[at] ~= COMMA
    if text[at] ~= CLOSE then
        return nil
    end
    return checked(now_ms), at + 1
end

-- The same; most are impressions as beacon.js writes them.
local function event(text, at, stop, now_ms)
    local item, ts, behind = plain_impression.read(text, at, stop)
    if item then
        return checked_impression(item, ts, now_ms), behind
    end
    return any_event(text, at, stop, now_ms)
end

-- The events of a body as a list, each as edge.events.check gives it and with its index; nil when they are not all
-- plain and valid.
function _M.read(body, now_ms)
    local stop = #body
    if stop < #BEGIN or string.sub(body, 1, #BEGIN) ~= BEGIN then
        return nil
    end
    local text, at, list, size = cast(u8, body), #BEGIN, {}, 0
    repeat
        if text[at] ~= OPEN or size == MAX_EVENTS then
            return nil
        end
        local one
        one, at = event(text, at, stop, now_ms)
        if not one then
            return nil
        end
        size = size + 1
        one.index, list[size] = size - 1, one
        at = at + 1
    until text[at - 1] ~= COMMA
    if text[at - 1] ~= CLOSE_LIST or text[at] ~= CLOSE or at + 1 ~= stop then
        return nil
    end
    return list
end

return _M
