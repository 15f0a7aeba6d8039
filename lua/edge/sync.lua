-- Keeps each worker in step with Redis: one timer, one small pipeline every half second for all that is polled.
--
-- A part names the command to ask and takes the reply; it may ask more. Mutable state, per worker: the parts, and
-- whether a round is running. A request that comes before the first round has ended makes it, or waits for it.

local config = require("edge.config").get()
local metrics = require("edge.metrics")
local semaphore = require("ngx.semaphore")
local store = require("edge.store")

local PERIOD = 0.5
-- Nobody waits for the rounds of the timer; a busy moment of Redis is no failure.
local PATIENT = { timeout_ms = math.max(2000, config.redis_timeout_ms), probe = true }

local _M = {}

local commands, takers, followers = {}, {}, {}
local running, done = false, false
local finished                -- posted to whoever waits for the round that is running
local complained = false

-- command: what to ask in each round; take(reply): true, or nil and why it failed. Parts are taken in order.
function _M.add(command, take)
    commands[#commands + 1], takers[#takers + 1] = command, take
end

-- Called after each round that went well.
function _M.afterwards(follow)
    followers[#followers + 1] = follow
end

local function ask(options)
    local began = ngx.now()
    local replies, err = store.exec(commands, options)
    if not replies then
        return nil, err
    end
    for i = 1, #takers do
        local ok
        ok, err = takers[i](replies[i])
        if not ok then
            return nil, err
        end
    end
    done = true
    for i = 1, #followers do
        followers[i]()
    end
    metrics.set("nightfeed_synced_timestamp_seconds", 'worker="' .. ngx.worker.id() .. '"', began)
    return true
end

-- A round in which a part throws is a round that failed: the timer goes on.
local function round(options)
    running = true
    local whole, ok, err = pcall(ask, options)
    running = false
    local waiting = -finished:count()
    if waiting > 0 then
        finished:post(waiting)
    end
    if not whole then
        ngx.log(ngx.ERR, "failed to follow Redis: ", ok)
        return nil, ok
    end
    if not ok and not complained then
        ngx.log(ngx.WARN, "cannot follow Redis for now, serving what is known: ", err)
    end
    complained = not ok
    return ok, err
end

local function tick(premature)
    if premature or ngx.worker.exiting() then
        return
    end
    if not running then
        round(PATIENT)
    end
    local ok, err = ngx.timer.at(PERIOD, tick)
    if not ok and err ~= "process exiting" then
        ngx.log(ngx.ERR, "failed to go on following Redis: ", err, ": raise lua_max_pending_timers")
    end
end

-- For init_worker: begins the rounds.
function _M.start()
    finished = assert(semaphore.new())
    local ok, err = ngx.timer.at(0, tick)
    if not ok then
        error("failed to begin following Redis: " .. err)
    end
end

-- True when the first round has ended well, waiting for it if need be; false when Redis does not answer.
function _M.ensure()
    if done then
        return true
    end
    if running then
        finished:wait(config.redis_timeout_ms / 1000)
    else
        round()
    end
    return done
end

return _M
