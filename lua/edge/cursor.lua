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
local buffer = require("edge.buffer")

local add, add_number = buffer.add, buffer.add_number
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

-- The cursor that is being written.
local cursor = buffer.new(LONGEST)

-- The last categories, oldest first.
local function add_recent(walk)
    local separator = ""
    for ago = assemble.GAP, 1, -1 do
        local category = walk.recent[(walk.position - ago) % assemble.GAP]
        if category > 0 then
            add(cursor, separator)
            add_number(cursor, category)
            separator = "_"
        end
    end
end

-- codes: why each of the items is served, or nil.
local function add_items(items, count, codes)
    for i = 1, count do
        if i > 1 then
            add(cursor, "_")
        end
        add_number(cursor, items[i])
        if codes then
            add(cursor, LETTERS[codes[i]])
        end
    end
end

local function add_part(number)
    add(cursor, ".")
    add_number(cursor, number)
end

-- The cursor behind the page that a walk has assembled.
function _M.of(walk, repeats)
    local posted, item = assemble.fresh_mark()
    buffer.clear(cursor)
    add(cursor, "1")
    add_part(walk.list.generation)
    add_part(walk.generation.generation)
    add_part(walk.start)
    add(cursor, repeats and ".1" or ".0")
    add_part(walk.stage)
    add_part(walk.index)
    add_part(posted)
    add_part(item)
    add_part(walk.position)
    add(cursor, ".")
    add_recent(walk)
    add(cursor, ".")
    add_items(walk.deferred, walk.deferred_count, walk.deferred_codes)
    add(cursor, ".")
    add_items(walk.waiting, walk.waiting_count)
    return buffer.text(cursor)
end

function _M.of_fallback(index)
    return "0." .. index
end

return _M
