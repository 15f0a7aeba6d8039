-- POST /identify: what an anonymous person has seen and done becomes part of a signed-in person's history.
--
-- Whoever asks shows a token of each: the one as Authorization: Bearer or the cookie, the other as the other, or in the
-- body, {"anonymous": "v1.…", "user": "v1.…"}. Which is which, the ids tell: those of anonymous people begin with "a-".
-- Two steps, each atomic on its own partition (lua/redis/identify.lua); asking again changes nothing. No cookie is set:
-- who is signed in, the site says, and after signing out the browser is the anonymous person again, who keeps all.
--
-- 200 {"user": …, "anonymous": …, "adopted": how many items the user had not seen} · 400, 401, 422 nothing was done
-- 403 another site's page asked · 429, 503 to be asked again

local config = require("edge.config").get()
local consent = require("edge.consent")
local headers = require("edge.headers")
local identity = require("edge.identity")
local json = require("edge.json")
local keys = require("edge.keys")
local limits = require("edge.limits")
local metrics = require("edge.metrics")
local origin = require("edge.origin")
local recent = require("edge.recent")
local respond = require("edge.respond")
local store = require("edge.store")

local floor = math.floor

local BODY = '{"anonymous": "<token>", "user": "<token>"}'
local NEEDS_BOTH = "valid tokens of an anonymous visitor (whose id begins with a-) and of a signed-in user are needed: "
    .. "send one as Authorization: Bearer and the other as the cookie, or both as " .. BODY
local STORE_FAILED = "the store does not answer: send the same again"

local _M = {}

-- The tokens in the body as a list, empty without a body; nil and what is wrong with it.
local function from_body()
    ngx.req.read_body()
    local body = ngx.req.get_body_data()
    if not body then
        return {}
    end
    local decoded = json.decode(body)
    if type(decoded) ~= "table" then
        return nil, "the body is not a JSON object: send none, or " .. BODY
    end
    local tokens = {}
    for _, name in ipairs({ "anonymous", "user" }) do
        local token = decoded[name]
        if token ~= nil and type(token) ~= "string" then
            return nil, '"' .. name .. '" is not a string: send ' .. BODY
        end
        tokens[#tokens + 1] = token
    end
    return tokens
end

-- The anonymous person and the signed-in one, nil for who is not shown. What the body names comes before the header,
-- and that before the cookie.
local function both(sent, tokens)
    local anonymous, user
    for _, known in ipairs(identity.presented(sent, tokens)) do
        if identity.is_anonymous(known.user) then
            anonymous = anonymous or known.user
        else
            user = user or known.user
        end
    end
    return anonymous, user
end

local function oldest_first(now_ms)
    local live, buckets = keys.live_buckets(now_ms), {}
    for i = #live, 1, -1 do
        buckets[#buckets + 1] = live[i]
    end
    return buckets
end

local function lend(user, buckets, now_ms)
    local argv = {
        "FCALL", "nightfeed_lend", 4 + #buckets,
        keys.users(keys.partition(user)), keys.seen(user), keys.lent(user), keys.searches(user),
    }
    for i = 1, #buckets do
        argv[#argv + 1] = keys.acts(user, buckets[i])
    end
    argv[#argv + 1] = user
    argv[#argv + 1] = ("%.0f"):format(keys.live_mask(now_ms))
    argv[#argv + 1] = keys.bucket_expiry(buckets[#buckets], user)
    for i = 1, #buckets do
        argv[#argv + 1] = buckets[i]
    end
    return argv
end

local function append(argv, list)
    for i = 1, #list do
        argv[#argv + 1] = list[i]
    end
end

local function adopt(user, buckets, lent, now_ms)
    local words, claims, acts, searches, last_visit = unpack(lent, 1, 5)
    local partition = keys.partition(user)
    local argv = {
        "FCALL", "nightfeed_adopt", 4 + 2 * #buckets,
        keys.users(partition), keys.erased(partition), keys.seen(user), keys.searches(user),
    }
    for i = 1, #buckets do
        append(argv, { keys.count(partition, keys.first_day(buckets[i])), keys.acts(user, buckets[i]) })
    end
    append(argv, {
        user, config.erasure_key, keys.BUCKET_DAYS, keys.searches_expiry(now_ms), last_visit, words, claims, #buckets,
    })
    for i = 1, #buckets do
        append(argv, {
            buckets[i], keys.bucket_expiry(buckets[i], user), keys.day_expiry(keys.first_day(buckets[i])),
        })
    end
    argv[#argv + 1] = #searches
    append(argv, searches)
    append(argv, acts)
    return argv
end

-- How many items the user had not seen; nil when Redis fails.
local function merge(anonymous, user)
    local now_ms = floor(ngx.now() * 1000)
    local buckets = oldest_first(now_ms)
    local replies = store.exec({ lend(anonymous, buckets, now_ms) }, store.WRITES)
    local lent = replies and replies[1]
    replies = lent and store.exec({ adopt(user, buckets, lent, now_ms) }, store.WRITES)
    if not replies then
        return nil
    end
    recent.adopt(user, anonymous, lent[1])
    return replies[1]
end

local function take(sent)
    local tokens, problem = from_body()
    if not tokens then
        return respond.problem(400, problem)
    end
    local anonymous, user = both(sent, tokens)
    if not (anonymous and user) then
        return respond.problem(401, NEEDS_BOTH)
    elseif not limits.may_merge(user) then
        return limits.refuse_merge(user)
    end
    local adopted = merge(anonymous, user)
    if not adopted then
        return respond.unavailable(STORE_FAILED)
    end
    metrics.count("nightfeed_merges_total", "")
    return respond.json(200, { user = user, anonymous = anonymous, adopted = adopted })
end

function _M.handle()
    local method, sent = ngx.req.get_method(), headers.read()
    if method ~= "POST" then
        return origin.other_method(sent, method, "POST")
    elseif consent.refused(sent) then
        return respond.nothing()
    elseif not origin.may_write(sent) then
        return respond.problem(403, origin.REFUSED)
    end
    return take(sent)
end

return _M
