-- One round trip to Redis for the jobs of several requests: the only module that opens sockets.
--
-- A job is { request, count }, commands as Redis's protocol wants them and how many replies they have, or one of
-- { call, part } and a count of one. Parts of the same call, a table with `compose`, become one command, whose reply is
-- a list: for each part of which there is something to say its place (from 1), and what it is. Afterwards each job has
-- `replies`: a list, or what was said of its part, or true when that was nothing; or `err`.
--
-- Whatever goes wrong, an error reply included, closes the connection: one with unread bytes would give one person's
-- data to the next. Only a clean one returns to the pool.

local config = require("edge.config").get()
local report = require("edge.report")
local resp = require("edge.resp")
local visits = require("edge.visits")

local tcp = ngx.socket.tcp
local now, update_time = ngx.now, ngx.update_time
local concat = table.concat
local pcall, tostring = pcall, tostring

local POOL = 64              -- idle connections that a worker keeps
local IDLE_MS = 60000
local NOBODY = { ["connection refused"] = true, ["no such file or directory"] = true }

local address = "unix:" .. config.redis_socket
local AUTH = resp.encode({ { "AUTH", config.redis_user, config.redis_password } })

local _M = {}

-- When the last connection was refused, or -1.
local refused = -1

-- Before anything is composed for the connection: what a call leaves out, the same Redis must have.
local function connect(sock)
    local ok, err = sock:connect(address)
    if not ok then
        if NOBODY[err] then
            refused = now()
        end
        return nil, "connect: " .. err
    end
    refused = -1
    if sock:getreusedtimes() == 0 then
        visits.forget_all()
    end
    return true
end

-- Opens a connection, or takes one of the pool, and sends; the reader of its replies, or nil, err.
local function open(sock, request)
    local fresh = sock:getreusedtimes() == 0
    local ok, err = sock:send(fresh and AUTH .. request or request)
    if not ok then
        return nil, "send: " .. err
    end
    local reader = resp.reader(sock)
    if fresh then
        ok, err = resp.replies(reader, 1)
        if not ok or reader.refused then
            return nil, err or "Redis answered " .. reader.refused
        end
    end
    return reader
end

local function first_call(jobs, size)
    for i = 1, size do
        if jobs[i].call then
            return jobs[i].call
        end
    end
end

-- The jobs that are parts of `call`, and then all others, as a new list, since the caller knows jobs by their places;
-- how many are parts.
local function put_first(jobs, size, call)
    local ordered, joined = {}, 0
    for i = 1, size do
        if jobs[i].call == call then
            joined = joined + 1
            ordered[joined] = jobs[i]
        end
    end
    local place = joined
    for i = 1, size do
        if jobs[i].call ~= call then
            place = place + 1
            ordered[place] = jobs[i]
        end
    end
    return ordered, joined
end

local function compose(jobs, size)
    local parts = {}
    for i = 1, size do
        parts[i] = jobs[i].part
    end
    return jobs[1].call.compose(jobs[1].call, parts, size)
end

-- What is sent for all jobs; the jobs in the order of their replies, and how many of them, the first, are one call.
local function request_of(jobs, size)
    local call = first_call(jobs, size)
    if not call and size == 1 then
        return jobs[1].request, jobs, 0
    end
    local requests, ordered, joined = {}, jobs, 0
    if call then
        ordered, joined = put_first(jobs, size, call)
        requests[1] = compose(ordered, joined)
    end
    for i = joined + 1, size do
        requests[#requests + 1] = ordered[i].request or compose({ ordered[i] }, 1)
    end
    return requests[2] and concat(requests) or requests[1], ordered, joined
end

local function answered(message)
    return "Redis answered " .. message
end

-- Replies of one job, into it, or the reply to its part of a call. False when nothing more can be read.
local function take(reader, job)
    local replies, err
    if job.call then
        replies, err = resp.read(reader)
    else
        replies, err = resp.replies(reader, job.count)
    end
    if replies == nil then
        job.err = err
        return false
    elseif reader.refused then
        job.err, reader.refused = answered(reader.refused), nil
    else
        job.replies = replies
    end
    return true
end

-- What is said of one of the jobs from `first` on: its place, and the reply. False, err when it could not be read.
local function take_one(reader, jobs, first)
    local place, err = resp.read(reader)
    if not place then
        return false, err
    end
    local job = jobs[first + place - 1]
    return take(reader, job), job.err
end

-- The same for all jobs that have nothing yet.
local function answer_all(jobs, first, last, replies, err)
    for i = first, last do
        local job = jobs[i]
        if not job.err and not job.replies then
            job.replies, job.err = replies, err
        end
    end
end

-- The reply to one call for jobs `first` to `last`: of each its own, or an error for all.
local function take_joined(reader, jobs, first, last)
    local count, err = resp.read_count(reader)
    if not count then
        answer_all(jobs, first, last, nil, err or answered(reader.refused or "something else than a list"))
        reader.refused = nil
        return count == false
    end
    for _ = 1, count, 2 do
        local done, why = take_one(reader, jobs, first)
        if not done then
            answer_all(jobs, first, last, nil, why or "not a place")
            return false
        end
    end
    answer_all(jobs, first, last, true)
    return true
end

-- Replies of all jobs, of which the first `joined` are one call. False when not all could be read.
local function take_all(reader, jobs, size, joined)
    if joined > 0 and not take_joined(reader, jobs, 1, joined) then
        return false
    end
    for i = joined + 1, size do
        local done
        if jobs[i].call then
            done = take_joined(reader, jobs, i, i)
        else
            done = take(reader, jobs[i])
        end
        if not done then
            return false
        end
    end
    return true
end

local function first_error(jobs, size)
    for i = 1, size do
        if jobs[i].err then
            return jobs[i].err
        end
    end
end

-- Returns nil and why not when some of the jobs could not be answered.
local function talk(sock, jobs, size, limit_ms)
    sock:settimeout(limit_ms)
    local ok, err = connect(sock)
    if not ok then
        return nil, err
    end
    local request, ordered, joined = request_of(jobs, size)
    local reader
    reader, err = open(sock, request)
    if not reader then
        return nil, err
    elseif not take_all(reader, ordered, size, joined) then
        return nil, first_error(jobs, size)
    elseif first_error(jobs, size) or resp.has_more(reader) then
        sock:close()
    else
        sock:setkeepalive(IDLE_MS, POOL)
    end
    return true
end

local complained = 0

-- Redis that is down would write a line for each request: one a second and worker is enough.
local function complain(err)
    update_time()
    if now() - complained >= 1 then
        complained = now()
        report.warn("failed to ask Redis: " .. err)
    end
end

-- Always comes back: every job has replies or err afterwards. Whether Redis could be talked to.
function _M.make(jobs, size, limit_ms)
    local sock = tcp()
    local fine, ok, err = pcall(talk, sock, jobs, size, limit_ms)
    if fine and ok then
        return true
    end
    err = fine and err or "defect: " .. tostring(ok)
    sock:close()
    complain(err)
    for i = 1, size do
        if not jobs[i].replies then
            jobs[i].err = jobs[i].err or err
        end
    end
    return false
end

-- Whether a connection was refused within the last so many seconds, and none was made since.
function _M.was_refused(seconds)
    local ago = now() - refused
    return ago >= 0 and ago < seconds
end

return _M
