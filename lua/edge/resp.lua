-- Redis's protocol, RESP2: commands as strings, and replies read from a socket through a buffer.

local ffi = require("ffi")
local new_tab = require("table.new")

local cast = ffi.cast
local concat = table.concat
local byte, find, sub = string.byte, string.find, string.sub
local tostring, type = tostring, type

local u8 = ffi.typeof("const uint8_t *")

local CHUNK = 65536      -- bytes asked for at once
local MINUS, ZERO, RETURN = 45, 48, 13

local _M = {}

-- "*<n>" and "\r\n$<n>\r\n" for the numbers that are common.
local counts, lengths = {}, {}
for n = 0, 1024 do
    counts[n], lengths[n] = "*" .. n, "\r\n$" .. n .. "\r\n"
end

-- `parts` is reused: nothing yields between filling and joining it.
local parts = {}

-- Commands, { { "GET", key }, … }, as one string.
function _M.encode(commands)
    local size = 0
    for i = 1, #commands do
        local command = commands[i]
        size = size + 1
        parts[size] = counts[#command] or "*" .. #command
        for j = 1, #command do
            local argument = command[j]
            if type(argument) ~= "string" then
                argument = tostring(argument)
            end
            parts[size + 1] = lengths[#argument] or "\r\n$" .. #argument .. "\r\n"
            parts[size + 2] = argument
            size = size + 2
        end
        size = size + 1
        parts[size] = "\r\n"
    end
    return concat(parts, "", 1, size)
end

-- One argument of a command, for those that write commands themselves.
function _M.bulk(argument)
    return "$" .. #argument .. "\r\n" .. argument .. "\r\n"
end

-- What reads replies from `sock`. `refused` holds the message of the last error reply, until somebody clears it.
function _M.reader(sock)
    return { sock = sock, data = "", at = 1, refused = nil }
end

local function more(reader)
    local chunk, err = reader.sock:receiveany(CHUNK)
    if not chunk then
        return nil, "no reply: " .. err
    end
    reader.data = reader.at > #reader.data and chunk or sub(reader.data, reader.at) .. chunk
    reader.at = 1
    return true
end

-- The whole number that stands in `data` from `at` on, and the place behind its line; nil when that is not all there.
local function number_at(data, at)
    local bytes, place, last = cast(u8, data), at - 1, #data - 2
    local negative = bytes[place] == MINUS
    local value = 0
    if negative then
        place = place + 1
    end
    while place <= last and bytes[place] ~= RETURN do
        value, place = value * 10 + bytes[place] - ZERO, place + 1
    end
    if place > last then
        return nil
    end
    return negative and -value or value, place + 3
end

local function read_number(reader)
    local value, behind = number_at(reader.data, reader.at + 1)
    while not value do
        local ok, err = more(reader)
        if not ok then
            return nil, err
        end
        value, behind = number_at(reader.data, reader.at + 1)
    end
    reader.at = behind
    return value
end

-- The text of a line behind its first character.
local function read_text(reader)
    local stop = find(reader.data, "\r\n", reader.at, true)
    while not stop do
        local ok, err = more(reader)
        if not ok then
            return nil, err
        end
        stop = find(reader.data, "\r\n", reader.at, true)
    end
    local text = sub(reader.data, reader.at + 1, stop - 1)
    reader.at = stop + 2
    return text
end

local function read_bulk(reader, length)
    if length < 0 then
        return false
    end
    local data, at = reader.data, reader.at
    local missing = length + 2 - (#data - at + 1)
    if missing <= 0 then
        reader.at = at + length + 2
        return sub(data, at, at + length - 1)
    end
    local rest, err = reader.sock:receive(missing)
    if not rest then
        return nil, "no reply: " .. err
    end
    reader.data, reader.at = "", 1
    return sub(sub(data, at) .. rest, 1, length)
end

local read

local function read_array(reader, count)
    if count < 0 then
        return false
    end
    local list = new_tab(count, 0)
    for i = 1, count do
        local value, err = read(reader)
        if value == nil then
            return nil, err
        end
        list[i] = value
    end
    return list
end

-- What a reply begins with.
local BULK, INTEGER, ARRAY, STATUS, ERROR = 36, 58, 42, 43, 45    -- $ : * + -

-- The character that the next reply begins with, as a number; nil, err when there is none.
local function next_mark(reader)
    if reader.at > #reader.data then
        local ok, err = more(reader)
        if not ok then
            return nil, err
        end
    end
    return byte(reader.data, reader.at)
end

-- A string, number, array, or false for "not there" and for an error reply, which is noted as `refused`; nil, err when
-- no reply could be read.
function read(reader)
    local mark, why = next_mark(reader)
    if not mark then
        return nil, why
    elseif mark == STATUS or mark == ERROR then
        local text, err = read_text(reader)
        if mark == ERROR and text then
            reader.refused, text = text, false
        end
        return text, err
    elseif mark ~= BULK and mark ~= INTEGER and mark ~= ARRAY then
        return nil, "not a Redis reply"
    end
    local value, err = read_number(reader)
    if not value or mark == INTEGER then
        return value, err
    elseif mark == BULK then
        return read_bulk(reader, value)
    end
    return read_array(reader, value)
end

_M.read = read

-- `count` replies as a list, or nil, err.
function _M.replies(reader, count)
    return read_array(reader, count)
end

-- How many replies the array has that comes next: they can be read one by one. False for anything else, which is
-- read, and noted as `refused` when it is an error; or nil, err.
function _M.read_count(reader)
    if next_mark(reader) == ARRAY then
        return read_number(reader)
    end
    local value, err = read(reader)
    if value == nil then
        return nil, err
    end
    return false
end

-- Whether there are bytes that nobody asked for.
function _M.has_more(reader)
    return reader.at <= #reader.data
end

return _M
