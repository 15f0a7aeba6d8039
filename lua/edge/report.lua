-- Log lines about faults that requests meet, written by a timer: in a request nginx adds the visitor's address and what
-- was asked to each line, and so it does in timers that a request has begun.
--
-- Per worker: the last text that is not written yet; a newer one takes its place.

local semaphore = require("ngx.semaphore")

local PATIENCE = 0.25         -- seconds that a worker which is to end waits for this at most

local _M = {}

local pending, signal

-- Before start() nothing listens, and nothing is lost either: it is written then.
function _M.warn(text)
    pending = text
    if signal and signal:count() <= 0 then
        signal:post(1)
    end
end

local function tick(premature)
    if premature or ngx.worker.exiting() then
        return
    end
    signal:wait(PATIENCE)
    if pending then
        ngx.log(ngx.WARN, pending)
        pending = nil
    end
    local ok, err = ngx.timer.at(0, tick)
    if not ok and err ~= "process exiting" then
        ngx.log(ngx.ERR, "failed to go on reporting faults: ", err, ": raise lua_max_pending_timers")
    end
end

-- For init_worker: begins to listen.
function _M.start()
    signal = assert(semaphore.new())
    local ok, err = ngx.timer.at(0, tick)
    if not ok then
        error("failed to begin reporting faults: " .. err)
    end
end

return _M
