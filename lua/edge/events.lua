-- What an event must look like; worker/events.py has the same rules for files.
--
-- parse takes a request body apart, check looks at one event. A check answers nil, message, reason: the message says
-- what is wrong and what is allowed, the reason is its class for the counters. Unknown fields are ignored, so that
-- a newer client can talk to an older edge; a "user" field is one of them: who it is, the token says.

local duplicates = require("edge.duplicates")
local json = require("edge.json")
local keys = require("edge.keys")
local text = require("edge.text")

local crc32 = ngx.crc32_long
local find, match = string.find, string.match
local show = text.show

local MAX_EVENTS = 100
local MAX_POSITION = 10000
local MAX_LIST = 4294967295
local MAX_DWELL_MS = 86400000
local MAX_QUERY = 200
local EARLIEST_MS = 1e11      -- smaller than this is surely meant as seconds

local _M = {}

local LETTERS = {
    impression = "i", click = "c", dwell = "d", reaction = "r", conversion = "v", hide = "h", search = "s",
}
_M.LETTERS = LETTERS
_M.LIMITS = { events = MAX_EVENTS, position = MAX_POSITION, list = MAX_LIST, earliest_ms = EARLIEST_MS }
local NAMES = "impression, click, dwell, reaction, conversion, hide or search"

-- { events = the list, twice = { [index] = the name of a field given twice } or nil }, or nil, status, message.
function _M.parse(body)
    if not text.length(body) then
        return nil, 400, "the body is not UTF-8 text: send JSON"
    end
    local decoded, err = json.decode(body)
    if type(decoded) ~= "table" then
        return nil, 400, "the body is not a JSON object: " .. (err or "it is " .. show(decoded))
    end
    local found, top
    if duplicates.suspicious(body, decoded) then
        found, top = duplicates.find(body)
    end
    if top then
        return nil, 400, "the body has the field " .. show(top) .. " twice: send it once"
    end
    local events, shape = decoded.events, 'the body must be {"events": [...]} with 1 to ' .. MAX_EVENTS .. " events"
    if type(events) ~= "table" or #events == 0 or next(events, #events) ~= nil then
        return nil, 400, shape
    elseif #events > MAX_EVENTS then
        return nil, 413, shape .. ", not " .. #events .. ": send several requests"
    end
    return { events = events, twice = found }
end

-- A whole number from low to high; NaN and infinity are not.
local function is_whole(value, low, high)
    return type(value) == "number" and value >= low and value <= high and value % 1 == 0
end

local function check_optional(raw, name, high)
    local value = raw[name]
    if value == nil or is_whole(value, 0, high) then
        return true
    end
    return nil, ('"%s" is %s: must be a whole number from 0 to %.0f'):format(name, show(value), high)
end

local function check_ts(ts, now_ms)
    if not is_whole(ts, 0, 9007199254740992) then
        return nil, '"ts" is ' .. show(ts) .. ": must be a whole number, Unix time in milliseconds"
    elseif ts < EARLIEST_MS then
        return nil, '"ts" is ' .. show(ts) .. ", which looks like seconds: must be Unix time in milliseconds"
    elseif ts > now_ms + keys.AHEAD_MS then
        return nil, '"ts" is ' .. show(ts) .. ", which is more than 5 minutes ahead of the server's clock"
    elseif ts < now_ms - keys.WINDOW_MS then
        return nil, ('"ts" is %s, which is more than %d days ago: nothing older is kept')
            :format(show(ts), keys.WINDOW_MS / 86400000)
    end
    return true
end

local function is_id(value)
    return type(value) == "string" and #value <= 128 and find(value, "^[%w._~:-]+$") ~= nil
end

local function check_query(query)
    local length = type(query) == "string" and text.length(query)
    if not length or length < 1 or length > MAX_QUERY or text.has_control(query) then
        return nil, '"query" is ' .. show(query) .. ": must be 1-200 characters of text without control characters"
    end
    return true
end

-- reaction: needs a kind; conversion: may have one.
local function check_kind(raw, required)
    local kind = raw.kind
    if not required and kind == nil then
        return ""
    elseif type(kind) ~= "string" or #kind > 32 or not match(kind, "^[a-z0-9_-]+$") then
        return nil, '"kind" is ' .. show(kind) .. ": must be 1-32 characters of a-z 0-9 _ -"
    end
    return kind
end

-- What makes a second delivery the same event, for those that count more than once a person and item.
local VALUES = {}

function VALUES.d(raw)
    if not is_whole(raw.ms, 1, MAX_DWELL_MS) then
        return nil, '"ms" is ' .. show(raw.ms) .. ": must be a whole number from 1 to " .. MAX_DWELL_MS
    end
    return { ms = raw.ms, hash = crc32(("d%.0f:%.0f"):format(raw.ts, raw.ms)) }
end

function VALUES.r(raw)
    local kind, err = check_kind(raw, true)
    return kind and { hash = crc32("r") }, err
end

function VALUES.v(raw)
    local kind, err = check_kind(raw, false)
    return kind and { hash = crc32("v" .. kind) }, err
end

function VALUES.h()
    return { hash = crc32("h") }
end

function VALUES.s(raw)
    local ok, err = check_query(raw.query)
    return ok and { query = raw.query }, err
end

local function no_value()
    return {}
end

-- { kind = "click", letter = "c", item = id or nil, ts, and by letter: ms, hash, query } or nil, message, reason.
function _M.check(raw, now_ms, twice)
    if type(raw) ~= "table" then
        return nil, "the event is " .. show(raw) .. ": must be an object", "malformed"
    elseif raw[1] ~= nil then
        return nil, "the event is an array: must be an object", "malformed"
    elseif twice then
        return nil, "the event has the field " .. show(twice) .. " twice: send it once", "malformed"
    end
    local letter = LETTERS[raw.event]
    if not letter then
        return nil, '"event" is ' .. show(raw.event) .. ": must be " .. NAMES, "event"
    end
    local ok, err = check_ts(raw.ts, now_ms)
    if not ok then
        return nil, err, "ts"
    end
    if letter ~= "s" and not is_id(raw.item) then
        return nil, '"item" is ' .. show(raw.item) .. ": must be 1-128 characters of A-Z a-z 0-9 . _ ~ : -", "item"
    end
    ok, err = check_optional(raw, "position", MAX_POSITION)
    if ok then
        ok, err = check_optional(raw, "list", MAX_LIST)
    end
    local event
    if ok then
        event, err = (VALUES[letter] or no_value)(raw)
    end
    if not event then
        return nil, err, "value"
    end
    event.kind, event.letter, event.ts = raw.event, letter, raw.ts
    event.item = letter ~= "s" and raw.item or nil
    return event
end

-- The event's name for a counter: one of the known ones, or "unknown".
function _M.kind_of(raw)
    local name = type(raw) == "table" and raw.event
    return LETTERS[name] and name or "unknown"
end

return _M
