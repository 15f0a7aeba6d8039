-- Who is asking: a signed token v1.<key id>.<user>.<issued>.<signature>, as Authorization: Bearer or in the cookie.
--
-- worker/tokens.py signs and verifies the same. Whatever is not a valid token counts as none, and who has none
-- gets a new anonymous identity. Each token is verified each time: that takes two microseconds, and remembering tens of
-- thousands of them made the garbage collector take five of each request.

local config = require("edge.config").get()
local ffi = require("ffi")
local headers = require("edge.headers")
local limits = require("edge.limits")
local metrics = require("edge.metrics")
local signature = require("edge.signature")

local byte, find, match, sub = string.byte, string.find, string.match, string.sub
local C, cast, string_of = ffi.C, ffi.cast, ffi.string
local get = headers.get
local is_word = require("edge.text").is_word
local u8 = ffi.typeof("const uint8_t *")

local BEARER = "Bearer "
local TOKEN_MAX = 256        -- longer than any valid token
local CANDIDATES = 8         -- cookies of our name that are tried in one request
local VERSION, SIGNATURE = "v1.", 43
local SHORTEST = #VERSION + #".." + SIGNATURE
local MAX_USER, MAX_DIGITS = 128, 12
local DOT, SEMICOLON, SPACE = 46, 59, 32
local DAY_SECONDS = 86400

local keyring = config.tokens
local cookie_start = config.cookie_name .. "="

ffi.cdef "int memcmp(const void *a, const void *b, size_t n);"

local _M = {}

function _M.sign(user, issued)
    local payload = "v1." .. keyring.current .. "." .. user .. "." .. issued
    return payload .. "." .. signature.sign(keyring.keys[keyring.current], payload)
end

-- The next dot from place `at` on, the first or last of a range of bytes: dots are before and behind it.
local function dot_from(bytes, at, step)
    while bytes[at] ~= DOT do
        at = at + step
    end
    return at
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

-- { user, issued, key_id } of the token that begins behind the first `at` bytes of a text and has `length`, when it is
-- valid, else nil. It is taken apart from its ends: a user's id may have dots.
local function verify(text, at, length)
    local token, payload = cast(u8, text) + at, length - SIGNATURE - 1
    if length < SHORTEST or length > TOKEN_MAX or C.memcmp(token, VERSION, #VERSION) ~= 0 or token[payload] ~= DOT then
        return nil
    end
    local key_end, issued_dot = dot_from(token, #VERSION, 1), dot_from(token, payload - 1, -1)
    local issued = digits(token, issued_dot + 1, payload)
    if not issued or issued_dot <= key_end or not is_user(token, key_end + 1, issued_dot) then
        return nil
    end
    local key_id = string_of(token + #VERSION, key_end - #VERSION)
    local secret = keyring.keys[key_id]
    if not secret or not signature.matches(secret, token, payload, token + payload + 1) then
        return nil
    end
    -- Of the text itself, so that it stays alive as long as pointers into it are used. All fields of an identity, so
    -- that it need not grow into one.
    return {
        user = sub(text, at + key_end + 2, at + issued_dot), issued = issued, key_id = key_id,
        token = nil, fresh = false, reissue = false, source = nil,
    }
end

local function verify_text(token)
    return verify(token, 0, #token)
end

local function from_bearer(sent)
    local header = get(sent, "authorization")
    if not header then
        return nil
    elseif #header > #BEARER and C.memcmp(header, BEARER, #BEARER) == 0 then
        local known = verify(header, #BEARER, #header - #BEARER)
        if known then
            return known
        end
    end
    local token = match(header, "^[Bb][Ee][Aa][Rr][Ee][Rr] +([^ ]+) *$")
    return token and verify_text(token)
end

-- Whether place `at` of the header (from 1) is none of a cookie: what parts them, or outside of the header.
local function is_border(header, at)
    local one = byte(header, at)
    return not one or one == SEMICOLON or one == SPACE
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
        if is_border(header, first - 1) then
            local stop = at
            while not is_border(header, stop) do
                stop = stop + 1
            end
            local known = verify(header, last, stop - at)
            if known then
                return known
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
-- { user, issued, key_id }.
function _M.presented(sent, tokens)
    local valid = {}
    for _, token in ipairs(tokens) do
        valid[#valid + 1] = verify_text(token)
    end
    valid[#valid + 1] = from_bearer(sent)
    valid[#valid + 1] = from_cookie(sent)
    return valid
end

-- Whether the edge has minted the id; docs/tokens.md keeps these for it.
function _M.is_anonymous(user)
    return byte(user, 1) == 97 and byte(user, 2) == 45
end

-- Whom a request with the headers `sent` is from: { user, issued, fresh = minted now, reissue = gets a new token for
-- the same user, token = the new one of either, source }; no user where the address has had too many newcomers.
function _M.request(sent)
    local source, known = "bearer", from_bearer(sent)
    if not known then
        source, known = "cookie", from_cookie(sent)
    end
    if not known then
        return mint()
    end
    known.source, known.reissue = source, wants_reissue(known, source)
    known.token = known.reissue and _M.sign(known.user, ngx.time())
    return known
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
