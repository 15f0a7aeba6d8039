-- The generation that is published, with its pool, its default list and the older items; and the pools of earlier ones.
--
-- Mutable state, per worker: the current generation, and at most POOLS pools. A list may name a generation
-- that is not the current one: it was written just before the switch, or its user was away. Its pool is asked for then.

local catalogue = require("edge.catalogue")
local ffi = require("ffi")
local keys = require("edge.keys")
local lists = require("edge.lists")
local store = require("edge.store")
local sync = require("edge.sync")

local concat = table.concat
local max = math.max
local pairs, tonumber = pairs, tonumber

local POOLS = 9                  -- the eight that are kept, and one that is being published
local BULK = { timeout_ms = 5000 }
local DEFAULT, OLDER = 1, 2      -- bits of `listed`

local bytes = ffi.typeof("uint8_t[?]")

local COMMAND = { "HMGET", keys.shared("generation"), "generation", "date", "moment", "made_at" }

local _M = { OLDER = OLDER }

local function nothing()
    return {
        generation = 0, made_at = 0, pool = lists.no_pool(), default = lists.none(), older = lists.read_numbers(""),
        listed = bytes(1), listed_max = 0, signature = "",
    }
end

local current = nothing()
local pools, gone = {}, {}
local loads

-- { generation, date, made_at, pool, default, older, listed (bits by item number), listed_max }, all of it empty and
-- generation 0 before the first run.
function _M.served()
    return current
end

-- The same, or nil before the first run.
function _M.current()
    return current.generation > 0 and current or nil
end

local function keep(pool)
    pools[pool.generation] = pool
    local kept, oldest = 0, pool.generation
    for generation in pairs(pools) do
        kept = kept + 1
        if generation < oldest then
            oldest = generation
        end
    end
    if kept > POOLS then
        pools[oldest] = nil
    end
end

-- Which items the default list and the older items name, as bits by item number.
local function mark_listed(generation)
    local default, older, items = generation.default, generation.older, generation.pool.items
    local highest = 0
    for i = 0, generation.pool.size - 1 do
        highest = max(highest, items[i])
    end
    for i = 0, older.count - 1 do
        highest = max(highest, older.items[i])
    end
    local listed = bytes(highest + 1)
    for i = 0, older.count - 1 do
        listed[older.items[i]] = OLDER
    end
    for i = 0, default.count - 1 do
        local place = default.entries[i] % 32768
        if place < generation.pool.size then
            listed[items[place]] = DEFAULT
        end
    end
    generation.listed, generation.listed_max = listed, highest
end

local function load(fields, signature)
    local number = tonumber(fields[1])
    local replies, err = store.exec({
        { "GET", keys.shared("pool", number) },
        { "GET", keys.shared("default", number) },
        { "GET", keys.shared("older", number) },
    }, BULK)
    if not replies then
        return nil, err
    end
    local generation = nothing()
    generation.generation, generation.date, generation.signature = number, fields[2], signature
    generation.made_at = tonumber(fields[4]) or 0
    generation.pool, err = lists.read_pool(replies[1] or "")
    if generation.pool then
        generation.default, err = lists.read(replies[2] or "")
    end
    if not (generation.pool and generation.default) then
        return nil, "failed to read generation " .. number .. ": " .. err
    end
    generation.older = lists.read_numbers(replies[3] or "")
    mark_listed(generation)
    keep(generation.pool)
    current = generation
    return true
end

-- When the catalogue was read anew, Redis may hold another store: nothing that was read before is used again.
local function forget_other_store()
    if loads ~= catalogue.loads() then
        loads = catalogue.loads()
        current, pools = nothing(), {}
    end
    gone = {}
end

-- Brings the current generation up to date with what Redis answered to COMMAND. True, or nil and why not.
local function take(reply)
    forget_other_store()
    if not tonumber(reply[1]) then
        current = current.generation == 0 and current or nothing()
        return true
    end
    local signature = concat({ reply[1], reply[2] or "", reply[3] or "", reply[4] or "" }, " ")
    if signature == current.signature then
        return true
    end
    return load(reply, signature)
end

-- After edge.catalogue, whose word on the store counts.
sync.add(COMMAND, take)

-- The pool of a generation, or false when it is gone; nil and why when Redis fails. Yields when it is not known here.
function _M.pool(number)
    local pool = pools[number]
    if pool then
        return pool
    end
    if gone[number] then
        return false
    end
    local replies, err = store.exec({ { "GET", keys.shared("pool", number) } })
    if not replies then
        return nil, err
    end
    pool, err = lists.read_pool(replies[1] or "")
    if not pool then
        gone[number] = true
        ngx.log(ngx.NOTICE, "no pool for lists of generation ", number, ": ", err)
        return false
    end
    keep(pool)
    return pool
end

return _M
