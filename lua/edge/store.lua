-- The only module that opens sockets: RESP2 pipelines to Redis on its Unix socket.
--
-- exec sends all commands at once and reads all replies. Whatever goes wrong, an error reply included, closes the
-- connection: one with unread bytes would give one person's data to the next. Only a clean one returns to the pool.
--
-- Per worker: at most POOL idle connections. There is no queue for them: ngx_lua's is not fair, and under load some
-- requests waited until they timed out. After a refused connection nobody tries for PAUSE seconds, since nginx logs
-- each attempt as an error.

local config = require("edge.config").get()
local metrics = require("edge.metrics")

local tcp = ngx.socket.tcp
local now, update_time = ngx.now, ngx.update_time
local concat = table.concat
local byte, sub = string.byte, string.sub
local tonumber, type = tonumber, type

local POOL = 1024
local IDLE_MS = 60000
local PAUSE = 0.5
local NOBODY = { ["connection refused"] = true, ["no such file or directory"] = true }

local address = "unix:" .. config.redis_socket
local timeout_ms = config.redis_timeout_ms

local _M = {}

-- "*<n>" and "\r\n$<n>\r\n" for the numbers that are common.
local counts, lengths = {}, {}
for n = 0, 1024 do
    counts[n], lengths[n] = "*" .. n, "\r\n$" .. n .. "\r\n"
end

-- Commands as one string. `parts` is reused: nothing yields between filling and joining it.
local parts = {}

local function encode(commands)
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

local AUTH = encode({ { "AUTH", config.redis_user, config.redis_password } })

local read_reply

local function read_bulk(sock, length)
    if length < 0 then
        return false
    end
    local data, err = sock:receive(length + 2)
    if not data then
        return nil, "no reply: " .. err
    end
    return sub(data, 1, length)
end

local function read_array(sock, count)
    if count < 0 then
        return false
    end
    local list = {}
    for i = 1, count do
        local value, err = read_reply(sock)
        if value == nil then
            return nil, err
        end
        list[i] = value
    end
    return list
end

-- A string, number, array, or false for "not there"; nil, err for a fault or an error reply, also a nested one.
function read_reply(sock)
    local line, err = sock:receive()
    if not line then
        return nil, "no reply: " .. err
    end
    local mark = byte(line)
    if mark == 36 then      -- $
        return read_bulk(sock, tonumber(sub(line, 2)))
    elseif mark == 43 then  -- +
        return sub(line, 2)
    elseif mark == 58 then  -- :
        return tonumber(sub(line, 2))
    elseif mark == 42 then  -- *
        return read_array(sock, tonumber(sub(line, 2)))
    elseif mark == 45 then  -- -
        return nil, "Redis answered " .. sub(line, 2)
    end
    return nil, "not a Redis reply"
end

local refused = -1

local function connect(sock)
    local ok, err = sock:connect(address)
    if not ok then
        if NOBODY[err] then
            refused = now()
        end
        return nil, "connect: " .. err
    end
    return true
end

local function talk(sock, commands, limit_ms)
    sock:settimeout(limit_ms)
    local ok, err = connect(sock)
    if not ok then
        return nil, err
    end
    local fresh = sock:getreusedtimes() == 0
    local request = encode(commands)
    ok, err = sock:send(fresh and AUTH .. request or request)
    if not ok then
        return nil, "send: " .. err
    end
    if fresh then
        ok, err = read_reply(sock)
        if not ok then
            return nil, err
        end
    end
    return read_array(sock, #commands)
end

local complained = 0

-- Redis that is down would write a line for each request: one a second and worker is enough.
local function complain(err)
    update_time()
    if now() - complained >= 1 then
        complained = now()
        ngx.log(ngx.WARN, "failed to ask Redis: ", err)
    end
end

local function failed(commands, err)
    metrics.count("nightfeed_store_failures_total", "")
    return nil, "failed to ask Redis (" .. tostring(commands[1] and commands[1][1]) .. "): " .. err
end

-- commands: argument lists, { { "GET", key }, … }; opts.timeout_ms: another timeout than redis_timeout_ms.
-- The replies in the same order, or nil and "failed to …" after which nothing is known to have been stored.
function _M.exec(commands, opts)
    local since = now() - refused
    if since >= 0 and since < PAUSE then
        return failed(commands, "it refused a connection a moment ago")
    end
    local sock = tcp()
    local replies, err = talk(sock, commands, opts and opts.timeout_ms or timeout_ms)
    if not replies then
        sock:close()
        complain(err)
        return failed(commands, err)
    end
    sock:setkeepalive(IDLE_MS, POOL)
    return replies
end

return _M
