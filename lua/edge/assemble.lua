-- Assembles one page: best first, spaced by category, fresh items at the positions kept for them, nothing twice.
--
-- What the stages give (edge.stages) is served unless its category stands in the last `gap` positions; then it waits
-- in `deferred`, which is looked at first from then on. With DEFERRED items waiting, or nothing else left, the one is
-- taken whose category was served longest ago. Fresh items, newest first, come at each position i % fresh_every == 2,
-- and when the stages are done; those that must wait stand in `waiting`. Before the first run all is fresh.
--
-- A walk's whole state is a handful of numbers, which the cursor carries to the next page.
--
-- Pure but for `walk`, which all requests of a worker reuse: nothing may yield between begin() and the last more().

local config = require("edge.config").get()
local ffi = require("ffi")
local fresh = require("edge.fresh")
local new_tab = require("table.new")
local rows = require("edge.rows")
local stages = require("edge.stages")

local advance = stages.advance
local floor, max = math.floor, math.max

local GAP, EVERY = config.gap, config.fresh_every
local SLOT = 2 % EVERY
local DEFERRED, WAITING = 32, 8
local FRESH, DONE = stages.FRESH, stages.DONE

local _M = { GAP = GAP, DEFERRED = DEFERRED, WAITING = WAITING }

-- recent: the category at absolute position i, at index i % GAP. *_count: how much of a reused table is in use.
local walk = { recent = {}, deferred = {}, deferred_codes = {}, waiting = {} }

-- By category number: the tick at which it was served last. Ticks go on from walk to walk, more than GAP further each
-- time, so that what an earlier walk served never counts and nothing is cleared.
local served_at = ffi.new("double[65536]")
local tick = GAP + 1

-- 0 when the item's category may stand at the next position; else how long ago it was served.
local function served_ago(n)
    local ago = tick - served_at[walk.rows[n].category]
    return ago > GAP and 0 or ago
end

-- The first in a line that is allowed, else the one served longest ago, nil when it is empty; and whether allowed.
local function best_of(line, count)
    local best, longest = nil, 0
    for i = 1, count do
        local ago = served_ago(line[i])
        if ago == 0 then
            return i, true
        elseif ago > longest then
            best, longest = i, ago
        end
    end
    return best, false
end

local function take_deferred(i)
    local line, codes, count = walk.deferred, walk.deferred_codes, walk.deferred_count
    local n, code = line[i], codes[i]
    for j = i, count - 1 do
        line[j], codes[j] = line[j + 1], codes[j + 1]
    end
    walk.deferred_count = count - 1
    return n, code
end

local function take_waiting(i)
    local line, count = walk.waiting, walk.waiting_count
    local n = line[i]
    for j = i, count - 1 do
        line[j] = line[j + 1]
    end
    walk.waiting_count = count - 1
    return n, FRESH
end

local function next_fresh()
    if walk.waiting_count > 0 then
        local i, allowed = best_of(walk.waiting, walk.waiting_count)
        if allowed then
            return take_waiting(i)
        end
    end
    while walk.fresh_left > 0 and walk.waiting_count < WAITING do
        local entry = walk.fresh[walk.fresh_left]
        walk.fresh_left, walk.fresh_last = walk.fresh_left - 1, entry
        local n = entry % fresh.STEP
        if stages.servable_fresh(walk, n) then
            if served_ago(n) == 0 then
                return n, FRESH
            end
            walk.waiting_count = walk.waiting_count + 1
            walk.waiting[walk.waiting_count] = n
        end
    end
    return nil
end

local function next_regular()
    if walk.deferred_count > 0 then
        local i, allowed = best_of(walk.deferred, walk.deferred_count)
        if allowed then
            return take_deferred(i)
        end
    end
    while walk.deferred_count < DEFERRED do
        local n, code = advance(walk)
        if not n or served_ago(n) == 0 then
            return n, code
        end
        walk.deferred_count = walk.deferred_count + 1
        walk.deferred[walk.deferred_count], walk.deferred_codes[walk.deferred_count] = n, code
    end
    return nil
end

-- Nothing is allowed: the gap narrows to what is possible.
local function narrowed()
    local i = best_of(walk.deferred, walk.deferred_count)
    if i then
        return take_deferred(i)
    end
    i = best_of(walk.waiting, walk.waiting_count)
    if i then
        return take_waiting(i)
    end
    return nil
end

local function choose()
    local n, code
    if walk.all_fresh or walk.position % EVERY == SLOT then
        n, code = next_fresh()
    end
    if not n then
        n, code = next_regular()
    end
    if not n and walk.stage == DONE then
        n, code = next_fresh()
    end
    if not n then
        n, code = narrowed()
    end
    return n, code
end

local function step()
    local n, code = choose()
    if not n then
        return false
    end
    local category = walk.rows[n].category
    served_at[category], tick = tick, tick + 1
    if GAP > 0 then
        walk.recent[walk.position % GAP] = category
    end
    walk.position, walk.size = walk.position + 1, walk.size + 1
    walk.numbers[walk.size], walk.codes[walk.size] = n, code
    return true
end

local function begin_first()
    walk.stage, walk.index, walk.position = stages.FIRST, 0, 0
    walk.deferred_count, walk.waiting_count = 0, 0
    walk.fresh_left, walk.fresh_last = walk.fresh_size, nil
    for i = 0, GAP - 1 do
        walk.recent[i] = 0
    end
end

-- Copies those of a cursor's items that may still be served; returns how many.
local function restore(line, codes, items, item_codes)
    local count = 0
    for i = 1, #items do
        if stages.still_servable(walk, items[i]) then
            count = count + 1
            line[count] = items[i]
            if codes then
                codes[count] = item_codes[i]
            end
        end
    end
    return count
end

local function begin_again(state)
    walk.stage, walk.index, walk.position = state.stage, state.index, state.position
    for ago = GAP, 1, -1 do
        local category = state.recent[#state.recent + 1 - ago] or 0
        walk.recent[(state.position - ago) % GAP] = category
        served_at[category] = tick - ago
    end
    walk.deferred_count = restore(walk.deferred, walk.deferred_codes, state.deferred, state.deferred_codes)
    walk.waiting_count = restore(walk.waiting, nil, state.waiting)
    walk.fresh_left, walk.fresh_last = walk.fresh_size, nil
    if state.fresh_item > 0 then
        walk.fresh_last = (state.fresh_posted - walk.fresh_base) * fresh.STEP + state.fresh_item
        walk.fresh_left = fresh.smaller(walk.fresh, walk.fresh_size, walk.fresh_last)
    end
    if state.stage > stages.FIRST then
        stages.stamp_list(walk)
    end
end

-- Begins a page. list and list_pool: what was published for the user, maybe nothing; generation: the current one;
-- stamps and stamp: see edge.seen; state: where an earlier page ended (edge.cursor), or nil; wanted: how many items.
-- Returns the walk.
function _M.begin(list, list_pool, generation, stamps, stamp, now, state, wanted)
    walk.wanted = wanted
    walk.list, walk.list_pool, walk.generation = list, list_pool, generation
    walk.rows, walk.count = rows.state()
    walk.stamps, walk.stamp = stamps, stamp
    walk.now, walk.start = now, state and state.start or now
    walk.fresh_from = walk.start - fresh.SPAN
    walk.moment, walk.max_item = generation.pool.moment, generation.pool.max_item
    walk.all_fresh = generation.generation == 0
    walk.fresh, walk.fresh_size, walk.fresh_base = fresh.entries(generation, now)
    walk.numbers, walk.codes, walk.size = new_tab(wanted + 1, 0), new_tab(wanted + 1, 0), 0
    tick = tick + 2 * GAP + 1
    if state then
        begin_again(state)
    else
        begin_first()
    end
    return walk
end

-- The next items of the person's list, as many as come one after the other, where nothing waits to be looked at first.
local function run()
    local first = walk.size + 1
    local slot = (walk.fresh_left > 0 or walk.waiting_count > 0) and SLOT or -1
    tick = stages.run(walk, served_at, tick, slot)
    for i = max(first, walk.size - GAP + 1), walk.size do
        walk.recent[(walk.position - walk.size + i - 1) % GAP] = walk.rows[walk.numbers[i]].category
    end
end

-- Chooses up to `wanted` items: walk.size of them in walk.numbers and walk.codes.
function _M.fill()
    local found = true
    while found and walk.size < walk.wanted do
        if walk.stage == stages.FIRST and walk.deferred_count == 0 and not walk.all_fresh then
            run()
        end
        found = walk.size == walk.wanted or step()
    end
end

-- Whether something comes after the page. Moves the walk on: ask last.
function _M.more()
    return step()
end

-- list, default or fallback: the last stage that the page needed.
function _M.source()
    local source = walk.list.count > 0 and "list" or "default"
    for i = 1, walk.size do
        local code = walk.codes[i]
        if code == stages.OLDER then
            return walk.all_fresh and "default" or "fallback"
        elseif code == stages.BY_DEFAULT then
            source = "default"
        end
    end
    return source
end

-- The posting time and number of the last fresh item that was looked at, 0 and 0 before the first.
function _M.fresh_mark()
    local entry = walk.fresh_last
    if not entry then
        return 0, 0
    end
    return floor(entry / fresh.STEP) + walk.fresh_base, entry % fresh.STEP
end

return _M
