-- Redis's protocol, RESP2: commands as strings, and replies read from a socket through a buffer.

local concat = table.concat
local byte, find, sub = string.byte, string.find, string.sub
local tonumber, tostring, type = tonumber, tostring, type

local CHUNK = 65536      -- bytes asked for at once

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

local function read_line(reader)
    local stop = find(reader.data, "\r\n", reader.at, true)
    while not stop do
        local ok, err = more(reader)
        if not ok then
            return nil, err
        end
        stop = find(reader.data, "\r\n", reader.at, true)
    end
    local line = sub(reader.data, reader.at, stop - 1)
    reader.at = stop + 2
    return line
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
    local list = {}
    for i = 1, count do
        local value, err = read(reader)
        if value == nil then
            return nil, err
        end
        list[i] = value
    end
    return list
end

-- A string, number, array, or false for "not there" and for an error reply, which is noted as `refused`; nil, err when
-- no reply could be read.
function read(reader)
    local line, err = read_line(reader)
    if not line then
        return nil, err
    end
    local mark = byte(line)
    if mark == 36 then      -- $
        return read_bulk(reader, tonumber(sub(line, 2)))
    elseif mark == 58 then  -- :
        return tonumber(sub(line, 2))
    elseif mark == 42 then  -- *
        return read_array(reader, tonumber(sub(line, 2)))
    elseif mark == 43 then  -- +
        return sub(line, 2)
    elseif mark == 45 then  -- -
        reader.refused = sub(line, 2)
        return false
    end
    return nil, "not a Redis reply"
end

-- `count` replies as a list, or nil, err.
function _M.replies(reader, count)
    return read_array(reader, count)
end

-- Whether there are bytes that nobody asked for.
function _M.has_more(reader)
    return reader.at <= #reader.data
end

return _M
