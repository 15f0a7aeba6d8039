-- How much one address and one person may do within an hour: identities for newcomers, events and merges of a person.
--
-- Requests a second are nginx's own limit (limit_req in nginx/edge.conf), by the same $visitor: the real peer's
-- address, or what a trusted proxy says; IPv6 by /64. rate_limit = "off" lifts all of them.
-- State: one counter for an active person, one for an address with newcomers, in memory that all workers share. It is
-- bounded: what was used longest ago makes room, so who goes on is not forgotten. An hour begins with its first count.

local config = require("edge.config").get()
local metrics = require("edge.metrics")
local respond = require("edge.respond")

local ceil, max = math.ceil, math.max
local var = ngx.var

local HOUR = 3600
local LIFTED = config.rate_limit == "off"
local NEW_USERS, USER_EVENTS = config.new_users_per_hour, config.user_events_per_hour
local MERGES = 60            -- of one person: a page may ask at each load

local LATER = ": nothing was stored, send the same again later"
local MESSAGES = {
    new_users = "too many new visitors from this address within an hour, and no valid token" .. LATER,
    merges = "more than " .. MERGES .. " merges into this person within an hour: ask again later",
    user_events = "more than " .. USER_EVENTS .. " events from this person within an hour" .. LATER,
}

local counters = ngx.shared.nightfeed_limits

local _M = {}

-- Each kind of counter has its own letter: no user's id and no address can name another's.
local function newcomers_key()
    return "n" .. var.visitor
end

local function events_key(user)
    return "e" .. user
end

local function merges_key(user)
    return "m" .. user
end

-- A site whose proxy is not in trusted_proxies has one address for all its visitors: its log says so, once an hour.
local function hint()
    local believed = var.realip_remote_addr and var.realip_remote_addr ~= var.remote_addr
    if var.http_x_forwarded_for and not believed and counters:add("hint", true, HOUR) then
        ngx.log(ngx.WARN, "an address has had ", NEW_USERS, " newcomers within an hour and sends X-Forwarded-For: ",
            "if it is a proxy of yours, name it in trusted_proxies")
    end
end

-- Whether this address may have another newcomer now; counts it.
function _M.may_mint()
    if LIFTED then
        return true
    end
    local minted = counters:incr(newcomers_key(), 1, 0, HOUR)
    -- Memory that takes no counter is no reason to turn people away.
    if not minted or minted <= NEW_USERS then
        return true
    end
    metrics.count("nightfeed_identities_refused_total", "")
    hint()
    return false
end

-- Whether this person may send so many more events now; counts them. If not: false and the reason.
function _M.admit(id, events)
    if not id.user then
        return false, "new_users"
    elseif LIFTED then
        return true
    end
    local sent = counters:incr(events_key(id.user), #events, 0, HOUR)
    if not sent or sent <= USER_EVENTS then
        return true
    end
    return false, "user_events"
end

-- Whether anonymous people's histories may be merged into this person's now; counts it.
function _M.may_merge(user)
    if LIFTED then
        return true
    end
    local merged = counters:incr(merges_key(user), 1, 0, HOUR)
    return not merged or merged <= MERGES
end

-- 429 and when to come again: when the hour is over.
local function too_many(key, message)
    ngx.header["Retry-After"] = max(1, ceil(counters:ttl(key) or 1))
    return respond.problem(429, message)
end

-- The answer for who may not send events.
function _M.refuse(id, reason)
    metrics.drop(reason)
    return too_many(reason == "new_users" and newcomers_key() or events_key(id.user), MESSAGES[reason])
end

-- The answer for who may not merge.
function _M.refuse_merge(user)
    return too_many(merges_key(user), MESSAGES.merges)
end

return _M
