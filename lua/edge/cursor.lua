-- Where a walk through a feed stands, as plain text that the client hands back for the next page.
--
--   1.<list's generation>.<current generation>.<start>.<repeats>.<stage>.<index>.<fresh posted>.<fresh item>.<position>
--    .<last categories>.<deferred items, each with a letter for its reason>.<waiting fresh items>
--   0.<index>     a page of the fallback (edge.fallback)
--
-- Decimal numbers; the members of the last three parts are joined by "_". Nothing in it needs to be secret or signed:
-- whatever it says, an item is served only if it is live and unseen. But anyone can write one: every number in it has
-- its bounds checked, here or where it is used, before it indexes anything or counts the rounds of a loop.

local assemble = require("edge.assemble")

local concat = table.concat
local find, gmatch, match = string.find, string.gmatch, string.match
local tonumber = tonumber

local LONGEST = 1024
local LETTERS = { "t", "n", "e", "d", "o" }
local CODES = {}
for code, letter in ipairs(LETTERS) do
    CODES[letter] = code
end

local WALK = "^1%.(%d+)%.(%d+)%.(%d+)%.([01])%.([1-5])%.(%d+)%.(%d+)%.(%d+)%.(%d+)%.([%d_]*)%.([%dtnedo_]*)%.([%d_]*)$"
local NUMBER_MAX, CATEGORY_MAX = 4294967295, 65535
local INVALID = "cursor is not one that /feed gave: leave it out for the first page"

local _M = {}

local function numbers(text, most, largest)
    local list = {}
    for digits in gmatch(text, "[^_]+") do
        local n = tonumber(digits)
        if n > largest or #list == most then
            return nil
        end
        list[#list + 1] = n
    end
    return list
end

local function lettered(text, most)
    local list, codes = {}, {}
    for part in gmatch(text, "[^_]+") do
        local digits, letter = match(part, "^(%d+)([tnedo])$")
        local n = tonumber(digits)
        if not n or n > NUMBER_MAX or #list == most then
            return nil
        end
        list[#list + 1], codes[#codes + 1] = n, CODES[letter]
    end
    return list, codes
end

local function parse_walk(text)
    local parts = { match(text, WALK) }
    if #parts == 0 then
        return nil, INVALID
    end
    for i = 1, 9 do
        parts[i] = tonumber(parts[i])
        if parts[i] > NUMBER_MAX then
            return nil, INVALID
        end
    end
    local state = {
        list_generation = parts[1], generation = parts[2], start = parts[3], repeats = parts[4] == 1,
        stage = parts[5], index = parts[6], fresh_posted = parts[7], fresh_item = parts[8], position = parts[9],
        -- Categories index an array of that size, which checks no bounds.
        recent = numbers(parts[10], 20, CATEGORY_MAX), waiting = numbers(parts[12], assemble.WAITING, NUMBER_MAX),
    }
    state.deferred, state.deferred_codes = lettered(parts[11], assemble.DEFERRED)
    if not (state.recent and state.deferred and state.waiting) then
        return nil, INVALID
    end
    return state
end

-- A cursor's state; { fallback = index } for one of the fallback; nil and what is wrong with it.
function _M.parse(text)
    if #text > LONGEST then
        return nil, INVALID
    end
    if find(text, "^0%.%d+$") then
        local index = tonumber(match(text, "%d+$"))
        if index > NUMBER_MAX then
            return nil, INVALID
        end
        return { fallback = index }
    end
    return parse_walk(text)
end

-- The last categories, oldest first.
local function recent_of(walk)
    local text = ""
    for ago = assemble.GAP, 1, -1 do
        local category = walk.recent[(walk.position - ago) % assemble.GAP]
        if category > 0 then
            text = text == "" and text .. category or text .. "_" .. category
        end
    end
    return text
end

local function deferred_of(walk)
    if walk.deferred_count == 0 then
        return ""
    end
    local parts = {}
    for i = 1, walk.deferred_count do
        parts[i] = walk.deferred[i] .. LETTERS[walk.deferred_codes[i]]
    end
    return concat(parts, "_")
end

-- The cursor behind the page that a walk has assembled.
function _M.of(walk, repeats)
    local posted, item = assemble.fresh_mark()
    return "1." .. walk.list.generation .. "." .. walk.generation.generation .. "." .. walk.start
        .. (repeats and ".1." or ".0.") .. walk.stage .. "." .. walk.index .. "." .. posted .. "." .. item .. "."
        .. walk.position .. "." .. recent_of(walk) .. "." .. deferred_of(walk) .. "."
        .. concat(walk.waiting, "_", 1, walk.waiting_count)
end

function _M.of_fallback(index)
    return "0." .. index
end

return _M
