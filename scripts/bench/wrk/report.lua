-- For wrk: what a load ends with, one JSON object on a line of its own. Also the whole script of a load that never
-- changes: wrk then sends the same bytes again and again, without asking Lua.

local threads = {}

function setup(thread)
    thread:set("thread_index", #threads)
    threads[#threads + 1] = thread
end

-- The sum of a global of all threads; 0 where a script has none of that name.
local function total(name)
    local sum = 0
    for _, thread in ipairs(threads) do
        sum = sum + (thread:get(name) or 0)
    end
    return sum
end

local function longest(name)
    local most = 0
    for _, thread in ipairs(threads) do
        most = math.max(most, thread:get(name) or 0)
    end
    return most
end

function done(summary)
    local errors = summary.errors
    print(("\n" .. '{"answers":%.0f,"seconds":%.6f,"beacons":%.0f,"others":%.0f,"sending":%.6f,"preparing":%.6f,'
        .. '"connect":%.0f,"read":%.0f,"write":%.0f,"timeout":%.0f,"status":%.0f}'):format(
        summary.requests, summary.duration / 1e6, total("beacons"), total("others"), longest("sending"),
        longest("preparing"), errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
