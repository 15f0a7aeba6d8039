-- The only module that opens sockets: commands to Redis on its Unix socket, those of concurrent requests together.
--
-- The requests of one nginx worker share round trips: while some of them, the leaders, talk to Redis, the others put
-- what they ask for into a queue. The next leader, the first in the queue, sends all of it at once, and each gets its
-- own replies; nobody is answered before Redis has answered. A request that is alone leads, and waits for nobody.
-- There are several leaders so that nginx has work while Redis is at that of another one; few, so that what is asked
-- at once is asked together. What writes has a lane of its own, a queue with its leaders: Redis may hold back writes
-- alone, while a failover is going on for instance, and no page shall wait behind one.
--
-- Whatever goes wrong, an error reply included, closes the connection: one with unread bytes would give one person's
-- data to the next. Only a clean one returns to the pool. When Redis is silent, all that wait fail together, so that
-- nobody waits twice. After a refused connection only the timer of edge.sync tries; requests wait for its success, at
-- most PAUSE seconds: nginx logs each attempt as an error, and one of a request with the visitor's address.
--
-- Mutable state, per worker: the lanes, each with its queue and who leads since when.

local config = require("edge.config").get()
local metrics = require("edge.metrics")
local report = require("edge.report")
local resp = require("edge.resp")
local semaphore = require("ngx.semaphore")

local tcp = ngx.socket.tcp
local now, update_time = ngx.now, ngx.update_time
local concat = table.concat
local pcall, tostring = pcall, tostring

local POOL = 64              -- idle connections that a worker keeps
local IDLE_MS = 60000
local PAUSE = 2
local LEADERS = 2
local BATCH = 32             -- requests in one round trip
local QUEUE = 20000          -- requests that may wait
local NOBODY = { ["connection refused"] = true, ["no such file or directory"] = true }

local address = "unix:" .. config.redis_socket
local timeout_ms = config.redis_timeout_ms
-- Longer than a leader can take: nginx may end a request, of HTTP/2 for instance, and with it a leader. Then the next
-- request leads; one that waits for the lost one gives up.
local STALE = 4 * timeout_ms / 1000 + 1
local PATIENCE = 2 * STALE

local AUTH = resp.encode({ { "AUTH", config.redis_user, config.redis_password } })

local _M = { WRITES = { writes = true } }

-- since: by place of a leader, when it began, or false
local function new_lane()
    local since = {}
    for place = 1, LEADERS do
        since[place] = false
    end
    return { queue = {}, first = 1, last = 0, since = since }
end

local reading, writing = new_lane(), new_lane()
local spare = {}             -- semaphores that nobody uses

local refused = -1

local function connect(sock)
    local ok, err = sock:connect(address)
    if not ok then
        if NOBODY[err] then
            refused = now()
        end
        return nil, "connect: " .. err
    end
    refused = -1
    return true
end

-- Opens a connection, or takes one of the pool, and sends; the reader of its replies, or nil, err.
local function open(sock, request)
    local ok, err = connect(sock)
    if not ok then
        return nil, err
    end
    local fresh = sock:getreusedtimes() == 0
    ok, err = sock:send(fresh and AUTH .. request or request)
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

-- Replies of one job, into it: `replies`, or `err`. False when nothing more can be read.
local function take(reader, job)
    local replies, err = resp.replies(reader, job.count)
    if not replies then
        job.err = err
        return false
    end
    if reader.refused then
        job.err, job.refused, reader.refused = "Redis answered " .. reader.refused, true, nil
    else
        job.replies = replies
    end
    return true
end

-- One round trip for all `jobs`. Returns nil and why not when some could not be answered.
local function talk(sock, jobs, size, limit_ms)
    sock:settimeout(limit_ms)
    local request = jobs[1].request
    if size > 1 then
        local requests = {}
        for i = 1, size do
            requests[i] = jobs[i].request
        end
        request = concat(requests)
    end
    local reader, err = open(sock, request)
    if not reader then
        return nil, err
    end
    local clean = true
    for i = 1, size do
        if not take(reader, jobs[i]) then
            return nil, jobs[i].err
        end
        clean = clean and not jobs[i].refused
    end
    if clean and not resp.has_more(reader) then
        sock:setkeepalive(IDLE_MS, POOL)
    else
        sock:close()
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

-- A round trip that always comes back: every job has replies or err afterwards. Whether Redis could be talked to.
local function round_trip(jobs, size, limit_ms)
    local sock = tcp()
    local fine, ok, err = pcall(talk, sock, jobs, size, limit_ms)
    if fine and ok then
        return true
    end
    err = fine and err or "defect: " .. tostring(ok)
    sock:close()
    complain(err)
    for i = 1, size do
        jobs[i].err = jobs[i].err or err
    end
    return false
end

-- The job of the lane that has waited longest, or nil.
local function pop(lane)
    while lane.first <= lane.last do
        local job = lane.queue[lane.first]
        lane.queue[lane.first] = nil
        lane.first = lane.first + 1
        if not job.gone then
            return job
        end
    end
    lane.first, lane.last = 1, 0
end

-- `job` and those that wait, as many as fit into one round trip.
local function gather(lane, job)
    local jobs, size = { job }, 1
    while size < BATCH do
        local other = pop(lane)
        if not other then
            break
        end
        size = size + 1
        jobs[size] = other
    end
    return jobs, size
end

local function fail_all(lane, err)
    local job = pop(lane)
    while job do
        job.err = err
        job.semaphore:post(1)
        job = pop(lane)
    end
end

-- Talks to Redis for `job` and those that wait, at the `place` of a leader; wakes them, and who leads there next.
local function lead(lane, job, place)
    local since = lane.since
    since[place] = now()
    local jobs, size = gather(lane, job)
    if not round_trip(jobs, size, timeout_ms) then
        fail_all(lane, job.err or "another request on the same connection failed")
    end
    for i = 2, size do
        jobs[i].semaphore:post(1)
    end
    local successor = pop(lane)
    if successor then
        successor.place, since[place] = place, now()
        successor.semaphore:post(1)
    else
        since[place] = false
    end
end

-- A place of the lane where nobody leads, or whoever did is lost; nil when there is none.
local function free_place(lane)
    local since, oldest = lane.since, now() - STALE
    for place = 1, LEADERS do
        if not since[place] or since[place] <= oldest then
            return place
        end
    end
end

-- Until a leader has answered for `job`, or made it the leader.
local function wait(lane, job)
    if lane.last - lane.first >= QUEUE then
        job.err = "too many requests wait for it"
        return
    end
    job.semaphore = table.remove(spare) or semaphore.new(0)
    lane.last = lane.last + 1
    lane.queue[lane.last] = job
    if job.semaphore:wait(PATIENCE) then
        spare[#spare + 1] = job.semaphore
    else
        job.gone, job.err = true, "forgotten for " .. PATIENCE .. " s"
    end
end

local function failed(err)
    metrics.count("nightfeed_store_failures_total", "")
    return nil, "failed to ask Redis: " .. err
end

-- request: `count` commands as Redis's protocol wants them; opts: nil, _M.WRITES where one of them writes, or
-- opts.timeout_ms, another timeout than redis_timeout_ms, and a connection of one's own; opts.probe: to try even after
-- a refused connection. The replies in the same order, or nil and "failed to …" after which nothing is known to have
-- been stored.
function _M.send(request, count, opts)
    local ago = now() - refused
    if ago >= 0 and ago < PAUSE and not (opts and opts.probe) then
        return failed("it refused a connection a moment ago")
    end
    local job = { request = request, count = count, replies = nil, err = nil, semaphore = nil, place = nil }
    if opts and opts.timeout_ms then
        round_trip({ job }, 1, opts.timeout_ms)
    else
        local lane = opts and opts.writes and writing or reading
        job.place = free_place(lane)
        if not job.place then
            wait(lane, job)
        end
        if job.place then
            lead(lane, job, job.place)
        end
    end
    if not job.replies then
        return failed(job.err or "no reply")
    end
    return job.replies
end

-- The same for commands as argument lists: { { "GET", key }, … }.
function _M.exec(commands, opts)
    return _M.send(resp.encode(commands), #commands, opts)
end

return _M
