-- An open loop: requests are due at a fixed rate, and latency counts from when each was due, so that waiting for a
-- busy server, or for a free connection, is never left out. wrk only lends its LuaJIT: all happens before its own load.
--
-- Options stand behind "--" as name=value: those of visits.lua, and
--
--   port, rate, connections   where to, how many requests a second, over how many connections
--   patience   how long answers are waited for after the last request was due, in seconds; 5 if it is not given
--   out      the file for rows of five doubles: due, sent and done (s, CLOCK_MONOTONIC), status (0: lost), kind
--            (0: beacon, 1: page)

local ffi = require("ffi")

local here = debug.getinfo(1, "S").source:match("^@(.*/)")
local clock = dofile(here .. "clock.lua")
local sockets = dofile(here .. "sockets.lua")
local data = dofile(here .. "visit_data.lua")
local answers = dofile(here .. "answers.lua")

local PRIORITY = -10          -- it stands for machines elsewhere, which a busy host does not slow down
local PATIENCE = 5
local COLUMNS = 5

local now = clock.now
local epoll, visits, rows, count
local free, busy, ready = {}, {}, {}      -- busy: socket -> { row, and what answers.add keeps }

local function new_rows()
    return ffi.new("double[?]", COLUMNS * (math.ceil(visits.rate * visits.seconds) + 1))
end

local function finish(fd, status, closing)
    local row = busy[fd].row * COLUMNS
    rows[row + 2], rows[row + 3] = now(), status
    busy[fd] = nil
    if closing then
        sockets.close(fd)
        fd = assert(sockets.open(epoll, visits.port))
    end
    free[#free + 1] = fd
end

local function send(due)
    local kind = count % (visits.beacons + visits.others) < visits.beacons and 0 or 1
    local text = kind == 0 and visits:beacon()
    if not text then
        kind, text = 1, visits:page()
    end
    local fd, row = table.remove(free), count * COLUMNS
    busy[fd] = { row = count }
    count = count + 1
    rows[row], rows[row + 1], rows[row + 4] = due, now(), kind
    if not sockets.send(fd, text) then
        finish(fd, 0, true)
    end
end

-- A connection that the server ended while it was idle.
local function replace(fd)
    for i = 1, #free do
        if free[i] == fd then
            sockets.close(fd)
            free[i] = assert(sockets.open(epoll, visits.port))
            return
        end
    end
end

local function receive(fd)
    local text, answer = sockets.receive(fd), busy[fd]
    if not answer then
        return replace(fd)
    elseif not text then
        return finish(fd, 0, true)
    end
    local head = answers.add(answer, text)
    if head and head.left <= 0 then
        finish(fd, head.status, head.closing)
    end
end

-- Every request that is due by then is sent, late or not, and waited for.
local function run()
    local begun, total = now(), math.floor(visits.rate * visits.seconds)
    local last = begun + visits.seconds + (visits.patience or PATIENCE)
    while (count < total or next(busy)) and now() < last do
        local due = begun + count / visits.rate
        while count < total and #free > 0 and due <= now() do
            send(due)
            due = begun + count / visits.rate
        end
        local idle = count < total and #free > 0 and due - now() or 1
        for i = 1, sockets.wait(epoll, math.max(idle, 0), ready) do
            receive(ready[i])
        end
    end
    return begun, total
end

-- What was not answered in time, or not even sent, was lost; it waited until now at least.
local function give_up(begun, total)
    for fd in pairs(busy) do
        finish(fd, 0, false)
    end
    for at = count, total - 1 do
        local row = at * COLUMNS
        rows[row], rows[row + 1], rows[row + 2], rows[row + 3] = begun + at / visits.rate, now(), now(), 0
    end
end

function setup(thread)
    thread:set("thread_index", 0)
end

function init(arguments)
    visits = data.open(arguments)
    rows, count, epoll = new_rows(), 0, sockets.epoll()
    local nice = sockets.hurry(PRIORITY)
    for _ = 1, visits.connections do
        free[#free + 1] = assert(sockets.open(epoll, visits.port))
    end
    local begun, total = run()
    give_up(begun, total)
    visits:close()
    local file = assert(io.open(visits.out, "wb"))
    file:write(ffi.string(rows, 8 * COLUMNS * total))
    file:close()
    print(("\n" .. '{"nice":%d,"requests":%d}'):format(nice, total))
    os.exit(0)
end
