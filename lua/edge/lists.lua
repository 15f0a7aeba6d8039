-- Reads published lists and pools: the binary formats of docs/design.md, written by worker/packing.py.
--
-- What is returned points into the string it was read from, which is kept beside the pointer so that it stays alive.

local ffi = require("ffi")

local cast = ffi.cast
local tonumber = tonumber

local u8 = ffi.typeof("const uint8_t *")
local u16 = ffi.typeof("const uint16_t *")
local u32 = ffi.typeof("const uint32_t *")

local VERSION = 1
local LIST_HEADER = 12
local POOL_HEADER = 32

local _M = {}

-- A list as { generation, count, entries (pointer), raw }; nil and why when the bytes are not a list.
function _M.read(raw)
    if #raw < LIST_HEADER then
        return nil, "a list of " .. #raw .. " bytes is shorter than its header"
    end
    local bytes = cast(u8, raw)
    local count = tonumber(cast(u16, bytes + 2)[0])
    if bytes[0] ~= VERSION or #raw ~= LIST_HEADER + 2 * count then
        return nil, "a list of version " .. bytes[0] .. ", " .. count .. " entries and " .. #raw .. " bytes"
    end
    return {
        generation = tonumber(cast(u32, bytes + 4)[0]),
        count = count,
        entries = cast(u16, bytes + LIST_HEADER),
        raw = raw,
    }
end

-- Where there is no list.
function _M.none()
    return { generation = 0, count = 0, entries = cast(u16, ""), raw = "" }
end

-- A pool as { generation, moment, max_item, top_count, new_end, size, items (pointer), raw }; nil and why when the
-- bytes are not a pool. Positions below top_count are top content, below new_end new content, then evergreen items.
function _M.read_pool(raw)
    if #raw < POOL_HEADER then
        return nil, "a pool of " .. #raw .. " bytes is shorter than its header"
    end
    local header = cast(u32, raw)
    local top_count, new_end = header[4], header[4] + header[5]
    local size = new_end + header[6]
    if header[0] ~= VERSION or #raw ~= POOL_HEADER + 4 * size then
        return nil, "a pool of version " .. header[0] .. ", " .. size .. " items and " .. #raw .. " bytes"
    end
    return {
        generation = header[1], moment = header[2], max_item = header[3],
        top_count = top_count, new_end = new_end, size = size,
        items = cast(u32, cast(u8, raw) + POOL_HEADER),
        raw = raw,
    }
end

-- Before the first run there is a pool of nothing.
function _M.no_pool()
    return {
        generation = 0, moment = 0, max_item = 0, top_count = 0, new_end = 0, size = 0, items = cast(u32, ""), raw = "",
    }
end

-- Item numbers without a header, as { count, items (pointer), raw }.
function _M.read_numbers(raw)
    return { count = math.floor(#raw / 4), items = cast(u32, raw), raw = raw }
end

return _M
