-- Checked events of one user into Redis, as one call of nightfeed_record: all of them or nothing.

local config = require("edge.config").get()
local catalogue = require("edge.catalogue")
local keys = require("edge.keys")
local metrics = require("edge.metrics")
local plain_record = require("edge.plain_record")
local recent = require("edge.recent")
local ffi = require("ffi")
local store = require("edge.store")

local string_of = ffi.string
local max, min = math.max, math.min

local CAP_MS = config.dwell_cap_s * 1000
local MAX_EVENTS = 100
local ITEMS = 2 ^ keys.ITEM_BITS
-- "n": stored as seen, without counting; see edge/counting.lua.
local CODES = { n = 0, i = 1, c = 2, d = 3, r = 4, v = 5, h = 6, s = 7 }
local CLICK, SEARCH = 2, 7
local NONE = {}

local _M = {}

-- Labels by kind and outcome. Kinds come from outside: only known ones become labels (events.kind_of).
local labels = {}

local function label(kind, outcome)
    local known = labels[outcome]
    if not known then
        known = {}
        labels[outcome] = known
    end
    known[kind] = known[kind] or 'event="' .. kind .. '",outcome="' .. outcome .. '"'
    return known[kind]
end

function _M.count(kind, outcome, by)
    metrics.count("nightfeed_events_total", label(kind, outcome), by)
end

function _M.count_all(events, outcome)
    for i = 1, #events do
        _M.count(events[i].kind, outcome)
    end
end

local function item_ids(events)
    local ids, listed = {}, {}
    for _, event in ipairs(events) do
        if event.item and not listed[event.item] then
            listed[event.item] = true
            ids[#ids + 1] = event.item
        end
    end
    return ids
end

-- Sets `number` of each event whose item this worker knows; whether that was all of them.
local function resolve_known(events)
    for i = 1, #events do
        local event = events[i]
        if event.item then
            event.number = catalogue.known(event.item)
            if not event.number then
                return false
            end
        end
    end
    return true
end

-- Sets `number` of each event with an item: those events, and those whose item the catalogue doesn't have; or nil, err.
-- Here and in the rest of the way to Redis no function is made for one call: LuaJIT compiles nothing with that in it.
function _M.resolve(events)
    if resolve_known(events) then
        return events, NONE
    end
    local ids = item_ids(events)
    local numbers, err = catalogue.numbers(ids)
    if not numbers then
        _M.count_all(events, "unstored")
        return nil, err
    end
    local known, unknown = {}, {}
    for _, event in ipairs(events) do
        event.number = event.item and numbers[event.item]
        if event.number or not event.item then
            known[#known + 1] = event
        else
            _M.count(event.kind, "unknown_item")
            unknown[#unknown + 1] = event
        end
    end
    return known, unknown
end

-- What a call carries of its events, see lua/redis/events.lua: two words for each, or, of a plain one, a word of a seen
-- set and a count. Every request writes them over: nothing yields before the copies.
local words = ffi.new("uint32_t[?]", 2 * MAX_EVENTS)

local function index_of(list, value)
    for i = 1, #list do
        if list[i] == value then
            return i
        end
    end
    list[#list + 1] = value
    return #list
end

local function value_of(event)
    if event.letter == "s" then
        return ("%.0f "):format(event.ts) .. event.query
    elseif event.ms then
        return ("%.0f:%.0f:%.0f"):format(event.ms, event.hash, event.cap_ms or CAP_MS)
    end
    return ("%.0f"):format(event.hash)
end

local function pack_others(events, found)
    local size = 0
    for i = 1, #events do
        if plain_record.plain[i] == 0 then
            local event = events[i]
            local code, bucket, acts = CODES[event.letter], keys.bucket_of(event.ts), 0
            if code == SEARCH then
                found.searches = true
            elseif code > CLICK then
                acts = index_of(found.acted, bucket)
            end
            if code > CLICK then
                found.values[#found.values + 1] = value_of(event)
            end
            words[size] = (event.number or 0) + code * ITEMS
            words[size + 1] = bucket % keys.CODES + index_of(found.days, keys.day_of(event.ts)) * 256 + acts * 65536
            size = size + 2
        end
    end
    found.packed = string_of(words, 4 * size)
end

-- The times of the first and the last of the events.
local function span_of(events)
    local oldest, newest = events[1].ts, events[1].ts
    for i = 2, #events do
        local ts = events[i].ts
        oldest, newest = min(oldest, ts), max(newest, ts)
    end
    return oldest, newest
end

-- What a call of any events carries. Of the plain ones, `count` on `day`, pack_plain has packed what there is to say.
local function gather(events, count, day)
    local marks, counts = plain_record.packed(count)
    local found = {
        days = { day }, acted = {}, values = {}, packed = "", searches = false, marks = marks, counts = counts,
    }
    pack_others(events, found)
    return found
end

local function command(user, found, oldest, newest, now_ms)
    local partition = keys.partition(user)
    local days, acted = found.days, found.acted
    local named = 3 + #days + #acted + (found.searches and 1 or 0)
    local argv = { "FCALL", "nightfeed_record", named, keys.users(partition), keys.erased(partition), keys.seen(user) }
    local at = 3 + named
    argv[at + 1], argv[at + 2], argv[at + 3] = user, #days, ("%.0f"):format(keys.live_mask(now_ms))
    argv[at + 4], argv[at + 5] = keys.bucket_expiry(keys.bucket_of(newest), user), config.erasure_key
    argv[at + 6], argv[at + 7] = ("%.0f"):format(oldest), ("%.0f"):format(keys.visit_of(newest) * 1000)
    argv[at + 8], argv[at + 9], argv[at + 10] = found.marks, found.counts, found.packed
    local key, expiry = 6, at + 10
    for i = 1, #days do
        argv[key + i], argv[expiry + i] = keys.count(partition, days[i]), keys.day_expiry(days[i])
    end
    key, expiry = key + #days, expiry + #days
    for i = 1, #acted do
        argv[key + i], argv[expiry + i] = keys.acts(user, acted[i]), keys.bucket_expiry(acted[i], user)
    end
    if found.searches then
        argv[key + #acted + 1], argv[expiry + #acted + 1] = keys.searches(user), keys.searches_expiry(now_ms)
    end
    for i = 1, #found.values do
        argv[at + 10 + named - 3 + i] = found.values[i]
    end
    return argv
end

-- Any events as a call of nightfeed_record; `count` of them, on `day`, are plain and packed. Returns how many
-- impressions and clicks counted, how many were seen already, and when the person was erased, if that forbids to write
-- them; or nil, err.
local function write_any(user, events, count, day, now_ms)
    local oldest, newest = span_of(events)
    local found = gather(events, count, day)
    local replies, err = store.exec({ command(user, found, oldest, newest, now_ms) }, store.WRITES)
    if not replies then
        return nil, err
    end
    return unpack(replies[1])
end

local function write(user, events, now_ms)
    local count, day = plain_record.pack(events)
    if count == #events then
        local _, newest = span_of(events)
        local impressions, clicks, repeats = plain_record.write(user, count, day, newest, now_ms)
        if impressions ~= false then
            return impressions, clicks, repeats
        end
        plain_record.pack(events)
    end
    return write_any(user, events, count, day, now_ms)
end

-- Events from after the person's erasure; the others are dropped, and counted.
local function after_erasure(events, erased_ms)
    local later, dropped = {}, {}
    for _, event in ipairs(events) do
        local list = event.ts > erased_ms and later or dropped
        list[#list + 1] = event
    end
    _M.count_all(dropped, "erased")
    return later
end

-- true once Redis has all events, but those from before the person's erasure; nil, err when it has none of them, as far
-- as is known.
function _M.write(user, events, now_ms)
    local impressions, clicks, repeats, erased = write(user, events, now_ms)
    if not impressions then
        _M.count_all(events, "unstored")
        return nil, clicks
    elseif erased then
        local later = after_erasure(events, erased)
        return #later == 0 or _M.write(user, later, now_ms)
    end
    _M.count_all(events, "stored")
    recent.add(user, events)
    metrics.count("nightfeed_impressions_total", "", impressions)
    metrics.count("nightfeed_clicks_total", "", clicks)
    metrics.count("nightfeed_repeat_impressions_total", "", repeats)
    return true
end

return _M
