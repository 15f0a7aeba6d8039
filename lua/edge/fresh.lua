-- Items that the current generation's run did not know: the newest come first, at the positions kept for them.
--
-- Mutable state, per worker: one sorted array of them, made again when the catalogue or the generation has changed.
-- An entry is (posted - base) * 2^29 + item number, exact in a double for 190 days, so that plain numbers are sorted.
-- Items posted in the future stand in it, too, and are passed over until their time comes.

local config = require("edge.config").get()
local rows = require("edge.rows")

local floor = math.floor
local sort = table.sort

local DAY = 86400
local STEP = 536870912         -- 2^29
local SPAN = config.fresh_days * DAY
local HORIZON = 100 * DAY      -- later items come in when the array is made again
local EVERY = 3600             -- seconds after which it is made again in any case

local _M = { STEP = STEP, SPAN = SPAN, SLACK = DAY }

local entries, size, base = {}, 0, 0
local made_edition, made_generation, made_at

-- Oldest first. Items are taken that were fresh a day ago, as a walk through pages may have begun then.
local function make(array, count, pool, now)
    entries, size, base = {}, 0, now - SPAN - DAY
    local moment, max_item, latest = pool.moment, pool.max_item, now + HORIZON
    for n = 1, count do
        local row = array[n]
        local posted = row.posted
        if posted >= base and posted <= latest and row.flags == 0 and (n > max_item or posted >= moment) then
            size = size + 1
            entries[size] = (posted - base) * STEP + n
        end
    end
    sort(entries)
end

-- The entries (oldest first), their number and the base of their times, for a generation at Unix second `now`.
function _M.entries(generation, now)
    local array, count, edition = rows.state()
    if edition ~= made_edition or generation ~= made_generation or now - made_at >= EVERY then
        make(array, count, generation.pool, now)
        made_edition, made_generation, made_at = edition, generation, now
    end
    return entries, size, base
end

-- How many of the sorted entries are smaller than `key`: what a walk has before it that got as far as `key`.
function _M.smaller(list, length, key)
    local low, high = 0, length
    while low < high do
        local middle = floor((low + high + 1) / 2)
        if list[middle] < key then
            low = middle
        else
            high = middle - 1
        end
    end
    return low
end

return _M
