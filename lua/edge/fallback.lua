-- What /feed answers when Redis does not: the last default list, rendered, in memory that all workers share.
--
-- Each round of edge.sync that finds a change renders it anew, and one worker does so every REFRESH seconds in any
-- case. It holds the generation on its first line, then a line for each item: number, expiry, JSON (on one line).
-- It outlives a worker, and a reload; a worker that never reached Redis can answer from it.

local assemble = require("edge.assemble")
local catalogue = require("edge.catalogue")
local generations = require("edge.generations")
local lists = require("edge.lists")
local recent = require("edge.recent")
local records = require("edge.records")
local rows = require("edge.rows")
local seen = require("edge.seen")
local sync = require("edge.sync")

local concat = table.concat
local gmatch, match = string.gmatch, string.match
local tonumber = tonumber

local KEPT = 200
local REFRESH = 5

local shared = ngx.shared.nightfeed_cache

local _M = {}

local rendered_edition, rendered_generation

local function render(generation)
    local none = lists.none()
    local stamps, stamp = seen.begin()
    local walk = assemble.begin(none, lists.no_pool(), generation, stamps, stamp, ngx.time(), nil, KEPT)
    assemble.fill()
    local numbers, codes, size = walk.numbers, walk.codes, walk.size
    local array = rows.state()
    local lines = { tostring(generation.generation) }
    for i = 1, size do
        lines[i + 1] = numbers[i] .. " " .. array[numbers[i]].expires .. " "
    end
    local texts, err = records.each(numbers, codes, size)
    if not texts then
        return nil, err
    end
    for i = 1, size do
        lines[i + 1] = texts[i] and lines[i + 1] .. texts[i] or ""
    end
    return concat(lines, "\n")
end

local function refresh()
    local generation = generations.served()
    local _, _, edition = rows.state()
    local changed = edition ~= rendered_edition or generation ~= rendered_generation
    if not (shared:add("fallback_turn", true, REFRESH) or changed) then
        return
    end
    local text = render(generation)
    if not text then
        return
    end
    local ok, err = shared:set("fallback", text)
    if not ok then
        ngx.log(ngx.ERR, "failed to keep the default list for when Redis is away: ", err)
        return
    end
    rendered_edition, rendered_generation = edition, generation
end

-- Up to `wanted` items as JSON texts from the index-th line on, the generation, and the index of the next page or nil.
-- What this worker knows to be gone, and what this server knows the user (if any) to have seen, is left out.
function _M.page(wanted, index, now, user)
    local text = shared:get("fallback") or "0"
    local known = catalogue.ready()
    local texts, line = {}, 0
    for number, expires, item in gmatch(text, "\n(%d+) (%d+) ([^\n]+)") do
        number, expires, line = tonumber(number), tonumber(expires), line + 1
        local live = (expires == 0 or expires > now) and (not known or rows.live(number, now))
        if live and line > index and not (user and recent.has(user, number)) then
            if #texts == wanted then
                return texts, match(text, "^%d+"), line - 1
            end
            texts[#texts + 1] = item
        end
    end
    return texts, match(text, "^%d+"), nil
end

sync.afterwards(refresh)

return _M
