-- Many connections, open at once: each asks for /healthz when it is opened, and later a little goes over all of them.
-- As in open_loop.lua, wrk only lends its LuaJIT.
--
-- Options stand behind "--" as name=value: those of visits.lua, where `seconds` is how long requests go over the open
-- connections, each of which gets one, and
--
--   port, connections   where to, and how many
--   index    which of `threads` such processes this is; its users are those of that thread
--   source   the connections come from 127.0.0.<source> and the ADDRESSES - 1 after it: one address has some 28,000
--            ports, and the kernel searches long for a free one when many of them are taken
--
-- Prints one JSON object when all are open, waits for a line on its input, sends, prints another, waits for one more.

local here = debug.getinfo(1, "S").source:match("^@(.*/)")
local clock = dofile(here .. "clock.lua")
local sockets = dofile(here .. "sockets.lua")
local data = dofile(here .. "visit_data.lua")
local answers = dofile(here .. "answers.lua")

local ADDRESSES = 8
local OPENING = 32                -- connections that wait for their first answer at once
local PATIENCE = 10               -- seconds after the last request was sent
local ALIVE = "GET /healthz HTTP/1.1\r\nHost: bench\r\n\r\n"

local now = clock.now
local visits, epoll
local waiting, ready = {}, {}     -- waiting: socket -> { sent, wanted, and what answers.add keeps }
local fds, open = {}, {}          -- in the order of opening; socket -> true
local pending, faults, times = 0, 0, {}

local function ask(fd, text, wanted)
    waiting[fd] = { sent = now(), wanted = wanted }
    pending = pending + 1
    if not sockets.send(fd, text) then
        waiting[fd], pending, faults = nil, pending - 1, faults + 1
    end
end

-- A connection that ended although nothing had asked for it.
local function lose(fd)
    if waiting[fd] then
        waiting[fd], pending = nil, pending - 1
    end
    open[fd], faults = nil, faults + 1
    sockets.close(fd)
end

local function hear(fd)
    local text, answer = sockets.receive(fd), waiting[fd]
    if not text or not answer and text ~= "" then
        return lose(fd)
    end
    local head = answer and answers.add(answer, text)
    if head and head.left <= 0 then
        times[#times + 1] = now() - answer.sent
        faults = faults + (head.status == answer.wanted and 0 or 1)
        waiting[fd], pending = nil, pending - 1
    end
end

local function listen(seconds)
    for i = 1, sockets.wait(epoll, seconds, ready) do
        hear(ready[i])
    end
end

local function open_all()
    while #fds < visits.connections do
        local fd = sockets.open(epoll, visits.port, visits.source + #fds % ADDRESSES)
        if not fd then
            return
        end
        fds[#fds + 1], open[fd] = fd, true
        ask(fd, ALIVE, 200)
        while pending >= OPENING do
            listen(PATIENCE)
        end
    end
end

local function rest()
    local last = now() + PATIENCE
    while pending > 0 and now() < last do
        listen(0.1)
    end
    faults = faults + pending
end

local function trickle()
    local begun, step = now(), visits.seconds / #fds
    for i, fd in ipairs(fds) do
        local due = begun + (i - 1) * step
        while now() < due do
            listen(math.max(due - now(), 0))
        end
        if open[fd] then
            local text = i % (visits.beacons + visits.others) < visits.beacons and visits:beacon()
            ask(fd, text or visits:page(), text and 204 or 200)
        end
    end
end

local function quantile(part)
    return times[math.max(math.ceil(part * #times), 1)] or 0
end

local function tell()
    local still = 0
    for _ in pairs(open) do
        still = still + 1
    end
    table.sort(times)
    print(('{"tried":%d,"open":%d,"answers":%d,"faults":%d,"p50_ms":%.3f,"p99_ms":%.3f,"max_ms":%.3f}'):format(
        #fds, still, #times, faults, 1e3 * quantile(0.5), 1e3 * quantile(0.99), 1e3 * quantile(1)))
    io.flush()
    faults, times = 0, {}
end

function setup(thread)
    thread:set("thread_index", 0)
end

function init(arguments)
    visits = data.open(arguments)
    epoll = sockets.epoll()
    open_all()
    rest()
    tell()
    io.read("*l")
    trickle()
    rest()
    tell()
    io.read("*l")
    visits:close()
    os.exit(0)
end
