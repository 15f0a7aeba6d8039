-- HMAC-SHA-256 (RFC 2104), random bytes and constant-time comparison from OpenSSL, through FFI: ngx_lua has SHA-1 only.

local ffi = require("ffi")

ffi.cdef [[
const void *EVP_sha256(void);
unsigned char *HMAC(const void *md, const void *key, int key_len, const unsigned char *data, size_t n,
                    unsigned char *out, unsigned int *out_len);
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
        if found and pcall(function() return library.HMAC, library.RAND_bytes end) then
            return library
        end
    end
    error("no OpenSSL found: install libssl3", 0)
end

local crypto = load_crypto()
local sha256 = crypto.EVP_sha256()
local buffer, length = ffi.new("unsigned char[64]"), ffi.new("unsigned int[1]")

local _M = {}

local function base64url(raw)
    return (ngx.encode_base64(raw, true):gsub("[+/]", { ["+"] = "-", ["/"] = "_" }))
end

-- The signature of payload as 43 characters of base64url without padding.
function _M.sign(secret, payload)
    if crypto.HMAC(sha256, secret, #secret, payload, #payload, buffer, length) == nil then
        error("OpenSSL made no HMAC")
    end
    return base64url(ffi.string(buffer, length[0]))
end

-- Whether two texts are equal, in a time that does not tell where they differ.
function _M.equal(a, b)
    return #a == #b and crypto.CRYPTO_memcmp(a, b, #a) == 0
end

-- 128 random bits as 22 characters of base64url.
function _M.random_name()
    if crypto.RAND_bytes(buffer, 16) ~= 1 then
        error("OpenSSL has no random bytes")
    end
    return base64url(ffi.string(buffer, 16))
end

return _M
