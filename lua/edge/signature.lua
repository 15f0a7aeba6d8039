-- HMAC-SHA-256 (RFC 2104), random bytes and constant-time comparison from OpenSSL, through FFI: ngx_lua has SHA-1 only.
--
-- The two hash states that a key begins with are made once: a signature is then two short hashes, and no lookup of an
-- algorithm by name, which costs OpenSSL 3 more than both.

local ffi = require("ffi")

local bor, bxor, band, lshift, rshift = bit.bor, bit.bxor, bit.band, bit.lshift, bit.rshift

ffi.cdef [[
typedef struct {
    uint32_t h[8], low, high, data[16];
    unsigned int used, length;
} nightfeed_sha256;
int SHA256_Init(nightfeed_sha256 *state);
int SHA256_Update(nightfeed_sha256 *state, const void *data, size_t length);
int SHA256_Final(unsigned char *digest, nightfeed_sha256 *state);
int RAND_bytes(unsigned char *out, int n);
int CRYPTO_memcmp(const void *a, const void *b, size_t n);
]]

-- nginx has libcrypto loaded already, except where it was linked in statically.
local function load_crypto()
    for _, name in ipairs({ false, "libcrypto.so.3", "libcrypto.so.1.1", "crypto" }) do
        local found, library = true, ffi.C
        if name then
            found, library = pcall(ffi.load, name)
        end
        if found and pcall(function() return library.SHA256_Init, library.RAND_bytes end) then
            return library
        end
    end
    error("no OpenSSL found: install libssl3", 0)
end

local crypto = load_crypto()
local BLOCK, DIGEST, TEXT = 64, 32, 43
local new_state = ffi.typeof("nightfeed_sha256")
local STATE_BYTES = ffi.sizeof(new_state)
local ALPHABET = ffi.new("const char[65]", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")

-- Of the signature that is being made: nothing yields meanwhile.
local working, digest, text = new_state(), ffi.new("unsigned char[33]"), ffi.new("char[44]")

local _M = {}

local function begun_with(key, pad)
    local block, state = ffi.new("unsigned char[64]"), new_state()
    for i = 0, BLOCK - 1 do
        block[i] = bxor(i < #key and key:byte(i + 1) or 0, pad)
    end
    crypto.SHA256_Init(state)
    crypto.SHA256_Update(state, block, BLOCK)
    return state
end

-- By key: the states of the inner and the outer hash.
local inner, outer = {}, {}

local function prepare(key)
    local short = key
    if #key > BLOCK then
        crypto.SHA256_Init(working)
        crypto.SHA256_Update(working, key, #key)
        crypto.SHA256_Final(digest, working)
        short = ffi.string(digest, DIGEST)
    end
    inner[key], outer[key] = begun_with(short, 0x36), begun_with(short, 0x5c)
end

-- The digest of the first `length` bytes of `message` into `digest`.
local function hmac(key, message, length)
    if not inner[key] then
        prepare(key)
    end
    ffi.copy(working, inner[key], STATE_BYTES)
    crypto.SHA256_Update(working, message, length)
    crypto.SHA256_Final(digest, working)
    ffi.copy(working, outer[key], STATE_BYTES)
    crypto.SHA256_Update(working, digest, DIGEST)
    crypto.SHA256_Final(digest, working)
end

-- The first `length` bytes of `digest` into `text` as base64url without padding; returns how many characters.
local function encode(length)
    local at = 0
    digest[length] = 0
    for i = 0, length - 1, 3 do
        local next_one = i + 1 < length and digest[i + 1] or 0
        local last = i + 2 < length and digest[i + 2] or 0
        local bits = bor(lshift(digest[i], 16), lshift(next_one, 8), last)
        text[at] = ALPHABET[rshift(bits, 18)]
        text[at + 1] = ALPHABET[band(rshift(bits, 12), 63)]
        text[at + 2] = ALPHABET[band(rshift(bits, 6), 63)]
        text[at + 3] = ALPHABET[band(bits, 63)]
        at = at + 4
    end
    return math.ceil(length * 4 / 3)
end

-- The signature of payload as 43 characters of base64url without padding.
function _M.sign(key, payload)
    hmac(key, payload, #payload)
    return ffi.string(text, encode(DIGEST))
end

-- Whether the 43 bytes at `signed` (a pointer) are the signature of the first `length` bytes of `payload`, in a time
-- that does not tell where not.
function _M.matches(key, payload, length, signed)
    hmac(key, payload, length)
    encode(DIGEST)
    return crypto.CRYPTO_memcmp(text, signed, TEXT) == 0
end

-- 128 random bits as 22 characters of base64url.
function _M.random_name()
    if crypto.RAND_bytes(digest, 16) ~= 1 then
        error("OpenSSL has no random bytes")
    end
    return ffi.string(text, encode(16))
end

return _M
