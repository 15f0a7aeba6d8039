-- What a walk through a feed can serve, in order: user list → default list → older items → items that no list names.
--
-- Each item has one place in this order: a later stage skips what an earlier one names, and all stages skip fresh
-- items, which come by themselves. Pure functions over `walk` (see edge.assemble).

local config = require("edge.config").get()

local band = bit.band
local min = math.min

local GAP, EVERY = config.gap, config.fresh_every
local LIST, DEFAULT, UNLISTED, DONE = 1, 2, 4, 5
-- Why an item is served; edge.records has the words. BY_DEFAULT and OLDER are "default" both, but tell the source.
local TOP, NEW, EVERGREEN, BY_DEFAULT, OLDER, FRESH = 1, 2, 3, 4, 5, 6
local POSITION, MISSED = 32767, 32768
local ONLY_OLDER = require("edge.generations").OLDER

local _M = { FIRST = LIST, DONE = DONE, BY_DEFAULT = BY_DEFAULT, OLDER = OLDER, FRESH = FRESH }

-- Whether a person may get the item of a row now.
local function is_live(row, now)
    return row.flags == 0 and row.posted <= now and (row.expires == 0 or row.expires > now)
end

local function live(walk, n)
    return n >= 1 and n <= walk.count and is_live(walk.rows[n], walk.now)
end

-- Whether live item `n`, posted then, is one that the run did not know, and young enough: its age is that at the walk's
-- beginning.
local function is_new(n, posted, fresh_from, max_item, moment)
    return posted >= fresh_from and (n > max_item or posted >= moment)
end

local function is_fresh(walk, n)
    return is_new(n, walk.rows[n].posted, walk.fresh_from, walk.max_item, walk.moment)
end

local function servable(walk, n)
    return live(walk, n) and walk.stamps[n] < walk.stamp and not is_fresh(walk, n)
end

-- Whether the fresh item may be served: what a list names may be, too, as no list serves it.
function _M.servable_fresh(walk, n)
    return live(walk, n) and walk.stamps[n] <= walk.stamp and is_fresh(walk, n)
end

-- Whether an item that was put aside on an earlier page may still be served.
function _M.still_servable(walk, n)
    return live(walk, n) and walk.stamps[n] <= walk.stamp
end

-- Why an item of the person's own list is served.
local function reason(pool, entry, place)
    if entry >= MISSED or place >= pool.new_end then
        return EVERGREEN
    end
    return place < pool.top_count and TOP or NEW
end

local function next_entry(walk, list, pool)
    local entries, items, size = list.entries, pool.items, pool.size
    for index = walk.index, list.count - 1 do
        local entry = entries[index]
        local place = band(entry, POSITION)
        local n = place < size and items[place] or 0
        if servable(walk, n) then
            walk.index = index + 1
            return n, list == walk.list and reason(pool, entry, place) or BY_DEFAULT
        end
    end
    return nil
end

-- Serves the person's list up to what needs a closer look: the next position i % EVERY == slot, or an item whose
-- category was served at one of the last GAP ticks (served_at, by category). It does what `advance` and assemble's step
-- do, one after the other, in one loop without a look at `walk`: of that LuaJIT makes short code. Returns the tick that
-- follows.
function _M.run(walk, served_at, tick, slot)
    local pool, rows, count, stamps, stamp = walk.list_pool, walk.rows, walk.count, walk.stamps, walk.stamp
    local entries, listed, items, pool_size = walk.list.entries, walk.list.count, pool.items, pool.size
    local now, fresh_from, max_item, moment = walk.now, walk.fresh_from, walk.max_item, walk.moment
    local numbers, codes, wanted, before = walk.numbers, walk.codes, walk.wanted, walk.position - walk.size
    local index, size = walk.index, walk.size
    while size < wanted and index < listed and (before + size) % EVERY ~= slot do
        local entry = entries[index]
        local place = band(entry, POSITION)
        local n = place < pool_size and items[place] or 0
        if n >= 1 and n <= count and stamps[n] < stamp then
            local row = rows[n]
            if is_live(row, now) and not is_new(n, row.posted, fresh_from, max_item, moment) then
                local category = row.category
                if tick - served_at[category] <= GAP then
                    break
                end
                served_at[category], tick, size = tick, tick + 1, size + 1
                numbers[size], codes[size] = n, reason(pool, entry, place)
            end
        end
        index = index + 1
    end
    walk.index, walk.size, walk.position = index, size, before + size
    return tick
end

local function next_older(walk)
    local older, listed = walk.generation.older, walk.generation.listed
    for index = walk.index, older.count - 1 do
        local n = older.items[index]
        if listed[n] == ONLY_OLDER and servable(walk, n) then
            walk.index = index + 1
            return n, OLDER
        end
    end
    return nil
end

-- Here the index is the highest number that was not looked at; a cursor may say any.
local function next_unlisted(walk)
    local listed, listed_max = walk.generation.listed, walk.generation.listed_max
    for n = min(walk.index, walk.count), 1, -1 do
        if (n > listed_max or listed[n] == 0) and servable(walk, n) then
            walk.index = n - 1
            return n, OLDER
        end
    end
    return nil
end

-- Later stages skip the user's list: its items have their place there, on whatever page that was.
function _M.stamp_list(walk)
    local list, items, size = walk.list, walk.list_pool.items, walk.list_pool.size
    local stamps, stamp, count = walk.stamps, walk.stamp, walk.count
    for index = 0, list.count - 1 do
        local place = band(list.entries[index], POSITION)
        local n = place < size and items[place] or 0
        if n <= count and stamps[n] < stamp then
            stamps[n] = stamp
        end
    end
end

local function next_of_stage(walk, stage)
    if stage == LIST then
        return next_entry(walk, walk.list, walk.list_pool)
    elseif stage == DEFAULT then
        return next_entry(walk, walk.generation.default, walk.generation.pool)
    elseif stage == UNLISTED then
        return next_unlisted(walk)
    end
    return next_older(walk)
end

-- The next item that may be served and why, or nil when all stages are done.
function _M.advance(walk)
    while walk.stage < DONE do
        local n, code = next_of_stage(walk, walk.stage)
        if n then
            return n, code
        end
        walk.stage = walk.stage + 1
        walk.index = walk.stage == UNLISTED and walk.count or 0
        if walk.stage == DEFAULT then
            _M.stamp_list(walk)
        end
    end
    return nil
end

return _M
