-- Who is asking: a signed token v1.<key id>.<user>.<issued>.<signature>, as Authorization: Bearer or in the cookie.
--
-- worker/tokens.py signs and verifies the same. Whatever is not a valid token counts as none, and who has none
-- gets a new anonymous identity. Per worker: the last VERIFIED tokens found valid, so that HMAC runs once for each.

local caches = require("edge.cache")
local config = require("edge.config").get()
local ffi = require("ffi")
local headers = require("edge.headers")
local limits = require("edge.limits")
local metrics = require("edge.metrics")
local signature = require("edge.signature")
local text = require("edge.text")

local byte, find, match, sub = string.byte, string.find, string.match, string.sub
local cast = ffi.cast
local get = headers.get
local is_word = text.is_word
local u8 = ffi.typeof("const uint8_t *")

local VERIFIED = 20000
local TOKEN_MAX = 256        -- longer than any valid token
local CANDIDATES = 8         -- cookies of our name that are tried in one request
local VERSION, SIGNATURE = "v1.", 43
local MAX_USER, MAX_DIGITS, DOT = 128, 12, 46
local DAY_SECONDS = 86400

local keyring = config.tokens
local cookie_start = config.cookie_name .. "="
local verified = caches.new(VERIFIED)

local _M = {}

function _M.sign(user, issued)
    local payload = "v1." .. keyring.current .. "." .. user .. "." .. issued
    return payload .. "." .. signature.sign(keyring.keys[keyring.current], payload)
end

-- Where the last dot before place `at` stands in the bytes of a token (from 0), or nil.
local function dot_before(bytes, at)
    for i = at - 1, 0, -1 do
        if bytes[i] == DOT then
            return i
        end
    end
    return nil
end

-- The number in the digits from one place to before another; nil when there are none, too many or other characters.
local function digits(bytes, from, to)
    local value = 0
    for i = from, to - 1 do
        local digit = bytes[i] - 48
        if digit < 0 or digit > 9 then
            return nil
        end
        value = value * 10 + digit
    end
    return to > from and to - from <= MAX_DIGITS and value or nil
end

local function is_user(bytes, from, to)
    for i = from, to - 1 do
        if is_word[bytes[i]] == 0 then
            return false
        end
    end
    return to > from and to - from <= MAX_USER
end

-- A token is taken apart from its ends: a user's id may have dots.
local function verify(token)
    local bytes, payload = cast(u8, token), #token - SIGNATURE - 1
    if payload < #VERSION or sub(token, 1, #VERSION) ~= VERSION or bytes[payload] ~= DOT then
        return nil
    end
    local key_end, issued_dot = find(token, ".", #VERSION + 1, true), dot_before(bytes, payload)
    local issued = digits(bytes, issued_dot + 1, payload)
    if not issued or issued_dot <= key_end or not is_user(bytes, key_end, issued_dot) then
        return nil
    end
    local key_id = sub(token, #VERSION + 1, key_end - 1)
    local secret = keyring.keys[key_id]
    if not secret or not signature.matches(secret, token, payload, bytes + payload + 1) then
        return nil
    end
    return { user = sub(token, key_end + 1, issued_dot), issued = issued, key_id = key_id }
end

-- { user, issued, key_id } of a valid token, else nil.
function _M.verify(token)
    if #token > TOKEN_MAX then
        return nil
    end
    local known = verified:get(token)
    if not known then
        known = verify(token)
        if known then
            verified:set(token, known)
        end
    end
    return known
end

local function from_bearer(sent)
    local header = get(sent, "authorization")
    if not header then
        return nil
    elseif sub(header, 1, 7) == "Bearer " then
        local token = sub(header, 8)
        local known = _M.verify(token)
        if known then
            return token, known
        end
    end
    local token = match(header, "^[Bb][Ee][Aa][Rr][Ee][Rr] +([^ ]+) *$")
    return token, token and _M.verify(token)
end

-- The first valid one: a page of another path or subdomain may have set a second cookie of the same name.
local function from_cookie(sent)
    local header = get(sent, "cookie")
    local at, tried = 1, 0
    while header and tried < CANDIDATES do
        local first, last = find(header, cookie_start, at, true)
        if not first then
            return nil
        end
        at = last + 1
        if first == 1 or find(header, "^[; ]", first - 1) then
            local token = match(header, "^[^; ]*", at)
            local known = _M.verify(token)
            if known then
                return token, known
            end
            tried = tried + 1
        end
    end
end

-- Signed by a key on its way out, or a cookie that has lived half its life: the person shall not be forgotten.
local function wants_reissue(known, source)
    return known.key_id ~= keyring.current
        or (source == "cookie" and ngx.time() - known.issued > config.cookie_days * DAY_SECONDS / 2)
end

local function mint()
    if not limits.may_mint() then
        return { fresh = false, reissue = false, source = "refused" }
    end
    local user, now = "a-" .. signature.random_name(), ngx.time()
    metrics.count("nightfeed_identities_total", "")
    return { user = user, token = _M.sign(user, now), issued = now, fresh = true, reissue = false, source = "minted" }
end

-- What of these tokens, and the header's and the cookie's among the headers `sent`, is valid, in this order, each as
-- _M.verify gives it.
function _M.presented(sent, tokens)
    local valid = {}
    for _, token in ipairs(tokens) do
        valid[#valid + 1] = _M.verify(token)
    end
    local _, bearer = from_bearer(sent)
    valid[#valid + 1] = bearer
    local _, cookie = from_cookie(sent)
    valid[#valid + 1] = cookie
    return valid
end

-- Whether the edge has minted the id; docs/tokens.md keeps these for it.
function _M.is_anonymous(user)
    return byte(user, 1) == 97 and byte(user, 2) == 45
end

-- Whom a request with the headers `sent` is from: { user, token, issued, fresh = minted now, reissue = the token is a
-- new one for the same user, source }; no user where the address has had too many newcomers.
function _M.request(sent)
    local source = "bearer"
    local token, known = from_bearer(sent)
    if not known then
        source = "cookie"
        token, known = from_cookie(sent)
    end
    if not known then
        return mint()
    end
    local reissue = wants_reissue(known, source)
    if reissue then
        token = _M.sign(known.user, ngx.time())
    end
    return {
        user = known.user, token = token, issued = known.issued, fresh = false, reissue = reissue, source = source,
    }
end

local attributes = "; Path=/; Max-Age=" .. config.cookie_days * DAY_SECONDS .. "; HttpOnly; SameSite="
    .. config.cookie_same_site .. (config.cookie_secure and "; Secure" or "")
    .. (config.cookie_partitioned and "; Partitioned" or "")

-- Hands a new token to the browser. A caller with a Bearer token keeps its own and gets the new one as a header:
-- a cookie would make the browser that person. /feed tells the token of a new visitor to the page, too.
function _M.set_cookie(id)
    if not id.fresh and not id.reissue then
        return
    end
    if id.source ~= "bearer" then
        ngx.header["Set-Cookie"] = cookie_start .. id.token .. attributes
    end
    if id.source == "bearer" or (id.fresh and ngx.var.uri == "/feed") then
        ngx.header["Nightfeed-Token"] = id.token
    end
end

return _M
