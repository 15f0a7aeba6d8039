-- Whose visit Redis knows of already: what this worker has written is not written with each beacon of theirs.
--
-- Only what was acknowledged on connections that still stand: a new one may be to a Redis that has lost its last
-- second, and then nothing is known. Redis looks at the rest: whoever has no seen set may have been removed, and is
-- written anew. An entry holds the whole id, so that nobody is taken for another; of two who share one, the later has
-- it. 32 bytes each, 4 MiB in all, of which only what is used becomes memory.

local ffi = require("ffi")

local band = bit.band
local C, cast, copy, fill = ffi.C, ffi.cast, ffi.copy, ffi.fill
local crc32 = ngx.crc32_long

local PLACES = 131072
local LONGEST = 27           -- ids; of longer ones nothing is noted

ffi.cdef [[
typedef struct { uint32_t visit; uint8_t length; char id[27]; } nightfeed_visit;
void *calloc(size_t count, size_t size);
void free(void *memory);
int memcmp(const void *a, const void *b, size_t n);
]]
local BYTES = PLACES * ffi.sizeof("nightfeed_visit")
local entries = ffi.gc(cast("nightfeed_visit *", C.calloc(1, BYTES)), C.free)
local noted = false

local _M = {}

-- Where a person's entry would be.
function _M.place(user)
    return band(crc32(user), PLACES - 1)
end

-- Whether Redis knows of this visit (Unix s) of theirs, or of a later one.
function _M.known(place, user, visit)
    local entry, length = entries[place], #user
    return entry.visit >= visit and entry.length == length and C.memcmp(entry.id, user, length) == 0
end

-- Redis knows of this visit.
function _M.note(place, user, visit)
    local length = #user
    if length <= LONGEST then
        local entry = entries[place]
        entry.visit, entry.length, noted = visit, length, true
        copy(entry.id, user, length)
    end
end

function _M.forget(place)
    entries[place].visit = 0
end

function _M.forget_all()
    if noted then
        fill(entries, BYTES)
        noted = false
    end
end

return _M
