-- The catalogue's rows in this worker's memory: 16 bytes an item, indexed by item number (see docs/design.md, `meta`).
--
-- Mutable state, per worker: one array, as large as the catalogue, grown by doubling. Nothing here yields, so whoever
-- reads it between two yields sees one state of the catalogue. It is not of Lua's memory: the garbage collector would
-- let as much garbage gather as the catalogue is large, all of it out of the processor's caches by then.

local ffi = require("ffi")

local C, cast, collected, copy, fill = ffi.C, ffi.cast, ffi.gc, ffi.copy, ffi.fill
local max = math.max

local SIZE = 16
local FIRST_CAPACITY = 4096
local REMOVED = 2

ffi.cdef [[
typedef struct { uint32_t posted, expires, social; uint16_t category; uint8_t kind, flags; } nightfeed_row;
void *calloc(size_t count, size_t size);
void free(void *memory);
]]

local _M = { SIZE = SIZE }

-- So many zeroed rows, freed when nobody has the pointer any more.
local function new_rows(size)
    local memory = C.calloc(size, SIZE)
    if memory == nil then
        error("no memory for the catalogue: " .. size * SIZE .. " bytes are wanted")
    end
    return collected(cast("nightfeed_row *", memory), C.free)
end

local array, capacity, count = new_rows(1), 0, 0
local edition = 0      -- moves with every change, so that what is derived from the rows knows when it is old

-- An array for at least `wanted` items. Rows are zeroed: posted in 1970 and of category 0, until they are written.
function _M.draft(wanted)
    local size = max(FIRST_CAPACITY, capacity)
    while size < wanted do
        size = size * 2
    end
    return { array = new_rows(size + 1), capacity = size }
end

-- Writes raw rows of the items from `first` on into a draft. No effect on what is read until adopt().
function _M.write(draft, first, raw)
    copy(draft.array + first, raw, #raw)
end

-- The draft becomes the catalogue, of `items` items.
function _M.adopt(draft, items)
    array, capacity, count = draft.array, draft.capacity, items
    edition = edition + 1
end

local function grow(wanted)
    local draft = _M.draft(wanted)
    copy(draft.array, array, (count + 1) * SIZE)
    array, capacity = draft.array, draft.capacity
end

-- Raw rows of the items from `first` on, which replace what is there or extend it.
function _M.replace(first, raw)
    local items = #raw / SIZE
    local last = first + items - 1
    if last > capacity then
        grow(last)
    end
    if first > count + 1 then
        fill(array + count + 1, (first - count - 1) * SIZE)
    end
    copy(array + first, raw, #raw)
    count = max(count, last)
    edition = edition + 1
end

-- The array (index 1 is item 1), the number of items, and the number that moves with every change.
function _M.state()
    return array, count, edition
end

-- The most items for which an array beside this one must have room.
function _M.capacity()
    return capacity
end

-- Whether a person may get the item at Unix second `now`.
function _M.live(n, now)
    if n < 1 or n > count then
        return false
    end
    local row = array[n]
    return row.flags == 0 and row.posted <= now and (row.expires == 0 or row.expires > now)
end

-- Whether the item was removed. One that is too new to be known here was not.
function _M.removed(n)
    return n <= count and array[n].flags >= REMOVED
end

return _M
