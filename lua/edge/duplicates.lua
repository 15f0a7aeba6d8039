-- Finds objects of a JSON text that name a field twice: the decoder keeps the last one in silence.
--
-- Only for text that has been decoded. `suspicious` is cheap and never misses one; `find` reads the text exactly.

local cjson = require("cjson.safe")

local byte, find, sub = string.byte, string.find, string.sub

local _M = {}

local function count_fields(value)
    local fields = 0
    for name, inner in pairs(value) do
        if type(name) == "string" then
            fields = fields + 1
        end
        if type(inner) == "table" then
            fields = fields + count_fields(inner)
        end
    end
    return fields
end

-- Every field of the text has a quote and a colon behind its name, and text inside strings can only add to those:
-- as many as there are decoded fields means that none was lost. A space between the two is rare and left to `find`.
function _M.suspicious(body, decoded)
    if find(body, '"[ \t\r\n]+:') then
        return true
    end
    local marks, at = 0, find(body, '":', 1, true)
    while at do
        marks = marks + 1
        at = find(body, '":', at + 2, true)
    end
    return marks ~= count_fields(decoded)
end

-- Index of the quote that closes the string opened at `at`.
local function string_end(body, at)
    repeat
        at = find(body, '["\\]', at + 1)
        local escaped = byte(body, at) == 92
        if escaped then
            at = at + 1
        end
    until not escaped
    return at
end

-- What one walk over the text knows. stack: the open objects { names = … } and arrays { index = commas so far }.
local function note_field(walk, name)
    local object = walk.stack[#walk.stack]
    if #walk.stack == 1 then
        walk.in_events = name == "events"
    end
    if object.names[name] then
        local element = walk.in_events and walk.stack[2]
        if #walk.stack > 2 and element and element.index then
            walk.found[element.index + 1] = walk.found[element.index + 1] or name
        else
            walk.top = walk.top or name
        end
    end
    object.names[name] = true
end

local function string_or_field(walk, body, at)
    local last = string_end(body, at)
    local object = walk.stack[#walk.stack]
    if object and object.names and find(body, "^[ \t\r\n]*:", last + 1) then
        local text = sub(body, at, last)
        note_field(walk, cjson.decode("[" .. text .. "]")[1])
    end
    return last
end

local OPEN_OBJECT, CLOSE_OBJECT, OPEN_ARRAY, CLOSE_ARRAY, COMMA, QUOTE = 123, 125, 91, 93, 44, 34

local function step(walk, body, at)
    local stack, mark = walk.stack, byte(body, at)
    if mark == QUOTE then
        return string_or_field(walk, body, at)
    elseif mark == OPEN_OBJECT then
        stack[#stack + 1] = { names = {} }
    elseif mark == OPEN_ARRAY then
        stack[#stack + 1] = { index = 0 }
    elseif mark == CLOSE_OBJECT or mark == CLOSE_ARRAY then
        stack[#stack] = nil
    elseif mark == COMMA and stack[#stack].index then
        stack[#stack].index = stack[#stack].index + 1
    end
    return at
end

-- { [index of the event] = the name of a field given twice somewhere in it }, and such a name outside of the events.
function _M.find(body)
    local walk = { stack = {}, found = {}, in_events = false, top = nil }
    local at = 0
    repeat
        at = find(body, '["{}%[%],]', at + 1)
        if at then
            at = step(walk, body, at)
        end
    until not at
    return walk.found, walk.top
end

return _M
