-- Asks Redis, for the requests of one nginx worker together.
--
-- They share round trips: while one of them, the leader, talks to Redis, the others put what they ask for into a queue.
-- The next leader, the first in the queue, sends all of it at once, and each gets its own replies; nobody is answered
-- before Redis has answered. A request that is alone leads, and waits for nobody. What is the same call for all of them
-- becomes one call (`join`). What writes has a lane of its own, a queue with its leaders: Redis may hold back writes
-- alone, while a failover is going on for instance, and no page shall wait behind one.
--
-- When Redis is silent, all that wait fail together, so that nobody waits twice. After a refused connection only the
-- timer of edge.sync tries; requests wait for its success, at most PAUSE seconds: nginx logs each attempt as an error,
-- and one of a request with the visitor's address.
--
-- Mutable state, per worker: the lanes, each with its queue and who leads since when.

local config = require("edge.config").get()
local metrics = require("edge.metrics")
local resp = require("edge.resp")
local round_trip = require("edge.round_trip")
local semaphore = require("ngx.semaphore")

local now = ngx.now
local remove = table.remove

local PAUSE = 2
local LEADERS = 1
local BATCH = 32             -- requests in one round trip
local QUEUE = 20000          -- requests that may wait
local KEPT = 512             -- jobs to be used again: more than wait at once, but for a storm

local timeout_ms = config.redis_timeout_ms
-- Longer than a leader can take: nginx may end a request, of HTTP/2 for instance, and with it a leader. Then the next
-- request leads; one that waits for the lost one gives up.
local STALE = 4 * timeout_ms / 1000 + 1
local PATIENCE = 2 * STALE

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
local spare = {}             -- jobs that nobody uses, with the semaphores they have

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
    if not round_trip.make(jobs, size, timeout_ms) then
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
    job.semaphore = job.semaphore or semaphore.new(0)
    lane.last = lane.last + 1
    lane.queue[lane.last] = job
    if not job.semaphore:wait(PATIENCE) then
        job.gone, job.err = true, "forgotten for " .. PATIENCE .. " s"
    end
end

local function failed(err)
    metrics.count("nightfeed_store_failures_total", "")
    return nil, "failed to ask Redis: " .. err
end

-- All jobs are tables of one shape, of which LuaJIT makes short code, and are used again: a beacon leaves less garbage.
local function new_job(request, count, call, part)
    local job = remove(spare)
    if not job then
        return {
            request = request, count = count, call = call, part = part, replies = nil, err = nil, semaphore = nil,
            place = nil, gone = nil,
        }
    end
    job.request, job.count, job.call, job.part = request, count, call, part
    return job
end

-- Its replies, or nil, err. A job that was forgotten may still be in somebody's hands; that of a request which nginx
-- ended never comes here.
local function replies_of(job)
    local replies, err = job.replies, job.err
    local kept = #spare
    if not job.gone and kept < KEPT then
        job.request, job.call, job.part, job.replies, job.err, job.place = nil, nil, nil, nil, nil, nil
        spare[kept + 1] = job
    end
    if replies then
        return replies
    end
    return failed(err or "no reply")
end

-- Has `job` answered in a lane: its replies, or nil, err.
local function ask(lane, job)
    job.place = free_place(lane)
    if not job.place then
        wait(lane, job)
    end
    if job.place then
        lead(lane, job, job.place)
    end
    return replies_of(job)
end

-- request: `count` commands as Redis's protocol wants them; opts: nil, _M.WRITES where one of them writes, or
-- opts.timeout_ms, another timeout than redis_timeout_ms, and a connection of one's own; opts.probe: to try even after
-- a refused connection. The replies in the same order, or nil and "failed to …" after which nothing is known to have
-- been stored.
function _M.send(request, count, opts)
    local job = new_job(request, count)
    if round_trip.was_refused(PAUSE) and not (opts and opts.probe) then
        return failed("it refused a connection a moment ago")
    elseif opts and opts.timeout_ms then
        round_trip.make({ job }, 1, opts.timeout_ms)
        return replies_of(job)
    end
    return ask(opts and opts.writes and writing or reading, job)
end

-- The same for commands as argument lists: { { "GET", key }, … }.
function _M.exec(commands, opts)
    return _M.send(resp.encode(commands), #commands, opts)
end

-- Writes `part` by one command for it and all parts of the same `call` that wait: see edge.round_trip. The reply for
-- this part, or nil and "failed to …".
function _M.join(call, part)
    if round_trip.was_refused(PAUSE) then
        return failed("it refused a connection a moment ago")
    end
    return ask(writing, new_job(nil, 1, call, part))
end

return _M
