-- Which events of anonymous people count in the statistics. An identity costs nothing to get, so what many of them do
-- from one place must not add up; whoever the site itself has signed a token for counts in any case.
--
-- An event that does not count is stored: its item is seen, and never shown again. It does not count when
--   minted   the identity was made for this very request: whether its sender keeps cookies is not known yet
--   old      it is from before the identity (by more than clocks may differ), or two days old: the past is easily
--            made up, and in each bucket of days reading time and reactions count anew
--   network  as many other people of the network as may (counted_per_network) count for this item today
-- A person counts whole or not at all for an item and day, whatever they do and in whatever order: rates stay true.
--
-- State: for each network (IPv4 /24, IPv6 /48) and item 4 bytes of each person that counts, until midnight UTC, in
-- memory that all workers share; bounded: what was used longest ago makes room. Two workers that look at the same
-- microsecond can give away one place twice.

local config = require("edge.config").get()
local identity = require("edge.identity")
local keys = require("edge.keys")
local metrics = require("edge.metrics")

local band, rshift = bit.band, bit.rshift
local max, min = math.max, math.min
local char, sub = string.char, string.sub
local crc32 = ngx.crc32_short
local var = ngx.var

local DAY = 86400
local LATEST_MS = 2 * DAY * 1000
local CAP_MS = min(config.dwell_cap_s, config.dwell_cap_anonymous_s) * 1000
local LIMITED = config.rate_limit ~= "off"
local ROOM = config.counted_per_network * 4
-- Hides and searches are in no score.
local WEIGHED = { i = true, c = true, d = true, r = true, v = true }
local REASONS = { minted = 'reason="minted"', old = 'reason="old"', network = 'reason="network"' }

local places = ngx.shared.nightfeed_counted

local _M = {}

local function network()
    local visitor = var.visitor
    return sub(visitor, 1, #visitor == 4 and 3 or 6)
end

local function mark_of(user)
    local sum = crc32(user)
    return char(band(sum, 255), band(rshift(sum, 8), 255), band(rshift(sum, 16), 255), rshift(sum, 24))
end

local function has(taken, mark)
    for at = 1, #taken, 4 do
        if sub(taken, at, at + 3) == mark then
            return true
        end
    end
    return false
end

-- Whether this person has a place for the item today, or gets one.
local function may_count(where, mark, number)
    local key = number .. ":" .. where
    local taken = places:get(key) or ""
    if has(taken, mark) then
        return true
    elseif #taken >= ROOM then
        return false
    end
    -- A place that cannot be kept is none: memory that is full must not be a way around.
    return (places:set(key, taken .. mark, DAY - ngx.time() % DAY))
end

local function why_not(id, event, oldest, where, mark)
    if id.fresh then
        return "minted"
    elseif event.ts < oldest then
        return "old"
    elseif LIMITED and not may_count(where, mark, event.number) then
        return "network"
    end
end

-- Marks those of the person's events that are only to be stored: their letter becomes "n".
function _M.weigh(id, events)
    if not identity.is_anonymous(id.user) then
        return
    end
    local where, mark
    if LIMITED then
        where, mark = network(), mark_of(id.user)
    end
    local oldest = max(id.issued * 1000 - keys.AHEAD_MS, ngx.now() * 1000 - LATEST_MS)
    for i = 1, #events do
        local event = events[i]
        if WEIGHED[event.letter] then
            local reason = why_not(id, event, oldest, where, mark)
            event.cap_ms = CAP_MS
            if reason then
                event.letter = "n"
                metrics.count("nightfeed_uncounted_events_total", REASONS[reason])
            end
        end
    end
end

return _M
