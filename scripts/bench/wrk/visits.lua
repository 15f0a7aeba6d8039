-- For wrk: beacons and pages of random users with valid tokens. Options stand behind "--" as name=value:
--
--   users    file of signed tokens, one a line; user u is line u
--   next     file of one 32-bit word a user: how many of the new items have been in beacons of that user
--   first, items   the new items are item-<first> … item-<first + items - 1>; no user has seen them before
--   beacons, others   how many requests of each kind make a round: 1 0, 0 1, or 4 1
--   events   impressions in a beacon, each of an item that its user had none of yet
--   ts       when they happened, Unix ms
--   path     what the other requests GET
--   seconds  how long requests are sent. wrk is to run a second longer: connections then wait idle, and whatever was
--            sent is answered before it ends, so that what was sent, answered and counted can be compared
--   threads  number of wrk's threads; each has its own users
--   full     1: the requests carry the headers of a browser

local here = debug.getinfo(1, "S").source:match("^@(.*/)")
dofile(here .. "report.lua")
local data = dofile(here .. "visit_data.lua")
local clock = dofile(here .. "clock.lua")

local NOTHING = ""
local PROBE = "GET /healthz HTTP/1.1\r\nHost: bench\r\n\r\n"

-- Of each thread, read by report.lua: requests that were sent, for how long, and the processor's time until then.
beacons, others, sending, preparing = 0, 0, 0, 0

local visits, place, round, until_s, begun
local now = clock.now

function init(arguments)
    visits = data.open(arguments, thread_index)
    place, round = 0, visits.beacons + visits.others
end

-- wrk tries the first thread's first request out, without sending it.
local tried = false

local function begin()
    if thread_index == 0 and not tried then
        tried = true
        preparing = os.clock()
        return PROBE
    end
    begun = now()
    until_s = begun + visits.seconds
end

-- No request: the connection waits until the end. The first of them writes down which items were used.
local function rest()
    if sending == 0 then
        sending = math.min(now() - begun, visits.seconds)
        visits:close()
    end
    return NOTHING
end

function request()
    local probe = not until_s and begin()
    if probe then
        return probe
    end
    if sending > 0 or now() >= until_s then
        return rest()
    end
    place = place % round + 1
    if place > visits.beacons then
        others = others + 1
        return visits:page()
    end
    local text = visits:beacon()
    if not text then
        return rest()
    end
    beacons = beacons + 1
    return text
end
