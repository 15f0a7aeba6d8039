-- Plain memory that all nginx workers share, without locks or lookups: mapped before the master forks them.
--
-- It outlives workers and reloads: a shared dictionary, which does too, remembers where it lies. Both are inherited in
-- the same way, so where the dictionary is known, the memory is. Whoever uses it cares for what several may write.

local ffi = require("ffi")

ffi.cdef [[
void *mmap(void *address, size_t length, int protection, int flags, int file, int64_t offset);
]]

local READ_WRITE, SHARED_ANONYMOUS = 3, 0x21   -- of Linux

local addresses = ngx.shared.nightfeed_metrics

local _M = {}

-- `bytes` of zeros, or what was written there before a reload, as a pointer. Only for init_by_lua.
function _M.map(name, bytes)
    local key = "mapped " .. name .. " " .. bytes
    local address = addresses:get(key)
    if address then
        return ffi.cast("void *", ffi.cast("uintptr_t", address))
    end
    local memory = ffi.C.mmap(nil, bytes, READ_WRITE, SHARED_ANONYMOUS, -1, 0)
    address = tonumber(ffi.cast("uintptr_t", memory))
    if address % 4096 ~= 0 then
        error("no memory for " .. name .. ": " .. bytes .. " bytes are wanted", 0)
    end
    local ok, err = addresses:safe_set(key, address)
    if not ok then
        error("failed to remember where " .. name .. " lies: " .. err, 0)
    end
    return memory
end

return _M
