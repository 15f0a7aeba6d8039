-- Start of the edge: configuration before the fork, background work in each worker.

local _M = {}

-- Room for as much compiled code as the hot paths make (LuaJIT's own limits are those of a small program).
jit.opt.start("maxtrace=8000", "maxrecord=16000", "maxmcode=16384", "minstitch=3")

-- A collection goes on as memory is asked for, and at LuaJIT's pace (200) it is through the edge's hundred thousand
-- strings within fifty requests, which then take several times as long. At this pace it takes eight times as many.
collectgarbage("setstepmul", 25)

-- What a request does is to be compiled in pieces that begin at its functions, which are compiled after 112 calls, and
-- then ways out of its loops. By default (10) the way out of the last loop comes first, with all that follows in one
-- piece; that is too long, and then interpreted for as long as the worker lives.
local COMPILER = { "hotexit=120" }

-- init_by_lua: whatever is wrong with the configuration or a module stops the start here.
function _M.init(path)
    require("jit.opt").start(unpack(COMPILER))
    require("edge.config").load(path)
    for _, name in ipairs({ "beacon", "pixel", "feed", "identify", "health" }) do
        require("edge." .. name)
    end
end

-- init_worker_by_lua: no sockets in this phase, so whatever needs Redis runs in timers.
function _M.worker()
    require("edge.metrics").start()
    require("edge.report").start()
    require("edge.sync").start()
end

return _M
