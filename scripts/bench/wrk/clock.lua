-- CLOCK_MONOTONIC in seconds, the clock of Python's time.monotonic().

local ffi = require("ffi")

ffi.cdef [[
typedef struct { long sec; long nsec; } bench_time;
int clock_gettime(int clock, bench_time *now);
]]

local MONOTONIC = 1
local time = ffi.new("bench_time")

local _M = {}

function _M.now()
    ffi.C.clock_gettime(MONOTONIC, time)
    return tonumber(time.sec) + tonumber(time.nsec) / 1e9
end

return _M
