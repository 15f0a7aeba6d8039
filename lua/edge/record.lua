-- Checked events of one user into Redis, as one call of nightfeed_record: all of them or nothing.

local config = require("edge.config").get()
local catalogue = require("edge.catalogue")
local keys = require("edge.keys")
local metrics = require("edge.metrics")
local recent = require("edge.recent")
local store = require("edge.store")

local CAP_MS = config.dwell_cap_s * 1000

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

local function count_events(events, outcome)
    local totals = {}
    for _, event in ipairs(events) do
        totals[event.kind] = (totals[event.kind] or 0) + 1
    end
    for kind, total in pairs(totals) do
        _M.count(kind, outcome, total)
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

-- Sets `number` of each event with an item, and calls reject(event) for those whose item the catalogue doesn't have.
-- The others, or nil, err.
function _M.resolve(events, reject)
    local ids = item_ids(events)
    if #ids == 0 then
        return events
    end
    local numbers, err = catalogue.numbers(ids)
    if not numbers then
        count_events(events, "unstored")
        return nil, err
    end
    local known = {}
    for _, event in ipairs(events) do
        event.number = event.item and numbers[event.item]
        if event.number or not event.item then
            known[#known + 1] = event
        else
            _M.count(event.kind, "unknown_item")
            reject(event)
        end
    end
    return known
end

-- Days of events that name an item, in order of appearance, and the index of each.
local function days_of(events)
    local days, index = {}, {}
    for _, event in ipairs(events) do
        local day = keys.day_of(event.ts)
        if event.number and not index[day] then
            days[#days + 1] = day
            index[day] = #days
        end
    end
    return days, index
end

-- Which keys, in the order that nightfeed_record documents.
local function key_arguments(argv, user, buckets, days)
    local partition = keys.partition(user)
    argv[#argv + 1] = 3 + 2 * #buckets + #days
    argv[#argv + 1] = keys.users(partition)
    argv[#argv + 1] = keys.erased(partition)
    argv[#argv + 1] = keys.searches(user)
    for _, bucket in ipairs(buckets) do
        argv[#argv + 1] = keys.seen(user, bucket)
    end
    for _, bucket in ipairs(buckets) do
        argv[#argv + 1] = keys.acts(user, bucket)
    end
    for _, day in ipairs(days) do
        argv[#argv + 1] = keys.count(partition, day)
    end
end

local function value_of(event)
    if event.letter == "s" then
        return ("%.0f"):format(event.ts)
    elseif event.ms then
        return ("%.0f:%.0f:%.0f"):format(event.ms, event.hash, CAP_MS)
    end
    return event.hash and ("%.0f"):format(event.hash) or ""
end

local function event_arguments(argv, events, buckets, index)
    local oldest, newest = math.huge, 0
    for _, event in ipairs(events) do
        local at = #argv
        argv[at + 1] = event.letter
        argv[at + 2] = event.number or event.query
        argv[at + 3] = buckets[1] - keys.bucket_of(event.ts) + 1
        argv[at + 4] = index[keys.day_of(event.ts)] or 1
        argv[at + 5] = value_of(event)
        oldest, newest = math.min(oldest, event.ts), math.max(newest, event.ts)
    end
    argv[#argv + 1] = config.erasure_key
    argv[#argv + 1] = ("%.0f"):format(oldest)
    argv[#argv + 1] = ("%.0f"):format(newest)
end

local function command(user, events, now_ms)
    local argv, buckets = { "FCALL", "nightfeed_record" }, keys.live_buckets(now_ms)
    local days, index = days_of(events)
    key_arguments(argv, user, buckets, days)
    argv[#argv + 1] = user
    argv[#argv + 1] = #buckets
    argv[#argv + 1] = keys.searches_expiry(now_ms)
    for _, bucket in ipairs(buckets) do
        argv[#argv + 1] = keys.bucket_expiry(bucket, user)
    end
    for _, day in ipairs(days) do
        argv[#argv + 1] = keys.day_expiry(day)
    end
    event_arguments(argv, events, buckets, index)
    return argv
end

-- Events from after the person's erasure; the others are dropped, and counted.
local function after_erasure(events, erased_ms)
    local later, dropped = {}, {}
    for _, event in ipairs(events) do
        local list = event.ts > erased_ms and later or dropped
        list[#list + 1] = event
    end
    count_events(dropped, "erased")
    return later
end

-- true once Redis has all events, but those from before the person's erasure; nil, err when it has none of them, as far
-- as is known.
function _M.write(user, events, now_ms)
    local replies, err = store.exec({ command(user, events, now_ms) })
    if not replies then
        count_events(events, "unstored")
        return nil, err
    end
    local counted = replies[1]
    if counted[4] then
        local later = after_erasure(events, counted[4])
        return #later == 0 or _M.write(user, later, now_ms)
    end
    count_events(events, "stored")
    recent.add(user, events)
    metrics.count("nightfeed_impressions_total", "", counted[1])
    metrics.count("nightfeed_clicks_total", "", counted[2])
    metrics.count("nightfeed_repeat_impressions_total", "", counted[3])
    return true
end

return _M
