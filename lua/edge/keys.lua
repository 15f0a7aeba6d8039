-- Builds every Redis key from worker/keyspace.json; worker/keyspace.py builds the same, and a test compares them.
--
-- A key is name:{tag} followed by its parts, each after a colon. The tag is the user's partition, or the shared tag.

local config = require("edge.config").get()

local crc32 = ngx.crc32_long
local floor = math.floor
local select = select

local DAY_SECONDS = 86400
local DAY_MS = 86400000
local AHEAD_MS = 300000      -- how far ahead of the clock an event may be

local definition = config.definition
local kinds = definition.keys
local partitions, bucket_days = definition.partitions, definition.bucket_days
local visit_seconds = definition.visit_seconds
local window_days = config.window_days

local codes = 2 ^ definition.bucket_bits

local _M = {
    AHEAD_MS = AHEAD_MS, BUCKET_DAYS = bucket_days, CODES = codes, ITEM_BITS = definition.item_bits,
    BUCKET_BITS = definition.bucket_bits, FLAG_BITS = definition.flag_bits, WINDOW_MS = window_days * DAY_MS,
}

local function check(name, tag, parts)
    local kind = kinds[name]
    if not kind or kind.tag ~= tag or #kind.parts ~= parts then
        error("no key " .. tostring(name) .. " with the tag " .. tag .. " and " .. parts .. " parts", 3)
    end
end

-- What each key of a partition begins with, "acts:{5}:2040", made once: HEADS of them at most, then all anew.
local HEADS = 20000
local heads, made = {}, 0

for name, parts in pairs({ seen = 1, lent = 1, acts = 2, searches = 1, list = 0, users = 0, erased = 0, count = 1 }) do
    check(name, "partition", parts)
    heads[name] = {}
end

local function make_head(name, partition, part)
    if made >= HEADS then
        made = 0
        for other in pairs(heads) do
            heads[other] = {}
        end
    end
    made = made + 1
    return name .. ":{" .. partition .. "}" .. (part and ":" .. part or "")
end

local function head(name, partition, part)
    local at = part and partition + part * partitions or partition
    local text = heads[name][at]
    if not text then
        text = make_head(name, partition, part)
        heads[name][at] = text
    end
    return text
end

function _M.partition(user)
    return crc32(user) % partitions
end

function _M.seen(user)
    return head("seen", crc32(user) % partitions) .. ":" .. user
end

function _M.lent(user)
    return head("lent", crc32(user) % partitions) .. ":" .. user
end

function _M.acts(user, bucket)
    return head("acts", crc32(user) % partitions, bucket) .. ":" .. user
end

function _M.searches(user)
    return head("searches", crc32(user) % partitions) .. ":" .. user
end

-- The hash that holds the user's list, by id.
function _M.list(user)
    return head("list", crc32(user) % partitions)
end

function _M.users(partition)
    return head("users", partition)
end

function _M.erased(partition)
    return head("erased", partition)
end

function _M.count(partition, day)
    return head("count", partition, day)
end

-- A key that belongs to no user: shared("version"), shared("pool", generation).
function _M.shared(name, ...)
    local parts = select("#", ...)
    check(name, "shared", parts)
    local key = name .. ":{" .. definition.shared_tag .. "}"
    return parts == 0 and key or key .. ":" .. (...)
end

function _M.day_of(ts_ms)
    return floor(ts_ms / DAY_MS)
end

function _M.bucket_of(ts_ms)
    return floor(floor(ts_ms / DAY_MS) / bucket_days)
end

function _M.first_day(bucket)
    return bucket * bucket_days
end

-- The visit of a moment: the Unix second at which the ten minutes it is in began.
function _M.visit_of(ts_ms)
    return floor(ts_ms / (visit_seconds * 1000)) * visit_seconds
end

local live, mask = {}, 0

-- The buckets of every moment that an event may have at now_ms, newest first. The table is shared: read only.
function _M.live_buckets(now_ms)
    local newest = _M.bucket_of(now_ms + AHEAD_MS)
    local oldest = _M.bucket_of(now_ms - window_days * DAY_MS)
    if live[1] ~= newest or live[#live] ~= oldest then
        live, mask = {}, 0
        for bucket = newest, oldest, -1 do
            live[#live + 1] = bucket
            mask = mask + 2 ^ (bucket % codes)
        end
    end
    return live
end

-- One bit for the code of each live bucket, which is its number modulo CODES.
function _M.live_mask(now_ms)
    _M.live_buckets(now_ms)
    return mask
end

-- Unix second: one window after the bucket's end, spread over a day so that not all keys expire at once.
function _M.bucket_expiry(bucket, user)
    return ((bucket + 1) * bucket_days + window_days) * DAY_SECONDS + crc32(user) % DAY_SECONDS
end

-- Unix second at which a day's counters expire if no nightly run ever takes them.
function _M.day_expiry(day)
    return (day + 100) * DAY_SECONDS
end

-- Unix second at which a user's searches expire: one window after the last of them.
function _M.searches_expiry(now_ms)
    return floor(now_ms / 1000) + window_days * DAY_SECONDS
end

return _M
