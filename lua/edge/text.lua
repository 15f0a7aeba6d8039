-- Checks of text that came from outside: is it UTF-8, how long is it, and how to show it in a message.

local byte, find, gsub, sub = string.byte, string.find, string.gsub, string.sub

local ffi = require("ffi")

-- is_word[byte] = 1 for what ids are made of.
local is_word = ffi.new("uint8_t[256]")
for code = 0, 255 do
    is_word[code] = find(string.char(code), "^[%w._~:-]$") and 1 or 0
end

local _M = { is_word = is_word }

-- The second byte's range narrows after these lead bytes: overlong forms, surrogates, beyond U+10FFFF (RFC 3629).
local SECOND = { [0xE0] = { 0xA0, 0xBF }, [0xED] = { 0x80, 0x9F }, [0xF0] = { 0x90, 0xBF }, [0xF4] = { 0x80, 0x8F } }
local ANY = { 0x80, 0xBF }

local function tail_length(lead)
    if lead < 0x80 then
        return 0
    elseif lead >= 0xC2 and lead <= 0xDF then
        return 1
    elseif lead >= 0xE0 and lead <= 0xEF then
        return 2
    elseif lead >= 0xF0 and lead <= 0xF4 then
        return 3
    end
end

-- The number of characters, or nil when the text is not UTF-8.
function _M.length(text)
    if not find(text, "[\128-\255]") then
        return #text
    end
    local at, characters = 1, 0
    while at <= #text do
        local lead = byte(text, at)
        local tail = tail_length(lead)
        if not tail or at + tail > #text then
            return nil
        end
        for i = 1, tail do
            local range = i == 1 and SECOND[lead] or ANY
            local value = byte(text, at + i)
            if value < range[1] or value > range[2] then
                return nil
            end
        end
        at, characters = at + tail + 1, characters + 1
    end
    return characters
end

-- Whether it holds U+0000-001F, U+007F or U+0080-009F.
function _M.has_control(text)
    return find(text, "%c") ~= nil or find(text, "\194[\128-\159]") ~= nil
end

-- A value from outside as a message may show it: short, printable ASCII, and never a number in another notation.
function _M.show(value)
    local kind = type(value)
    if kind == "number" then
        return value % 1 == 0 and math.abs(value) < 1e15 and ("%.0f"):format(value) or ("%.6g"):format(value)
    elseif kind == "boolean" then
        return tostring(value)
    elseif kind ~= "string" then
        return kind == "table" and "an object or array" or value == nil and "missing" or "null"
    end
    local shown = gsub(sub(value, 1, 40), "[^ -~]", "?")
    return '"' .. shown .. (#value > 40 and '…"' or '"')
end

return _M
