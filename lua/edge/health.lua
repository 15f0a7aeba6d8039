-- GET /readyz: can this edge do its work now, and if not, why. GET /metrics: what it has done.

local config = require("edge.config").get()
local generations = require("edge.generations")
local metrics = require("edge.metrics")
local respond = require("edge.respond")
local store = require("edge.store")

local _M = {}

-- nightfeed_ready is declared as writing and writes nothing: Redis refuses it whenever it would refuse a beacon
-- (out of memory, full disk, read-only replica), and no data is touched.
local PROBE = { { "FCALL", "nightfeed_ready", 0 } }

local function check_store(reasons)
    local replies, err = store.exec(PROBE, store.WRITES)
    if not replies then
        reasons[#reasons + 1] = "Redis does not take writes: " .. err
    end
end

local function check_lists(reasons)
    local generation = generations.current()
    if not generation then
        reasons[#reasons + 1] = "there are no lists yet: run worker nightly"
        return
    end
    local hours = (ngx.time() - generation.made_at) / 3600
    if hours > config.stale_hours then
        reasons[#reasons + 1] = ("the lists are %.1f hours old, more than %g: see worker status, run worker nightly")
            :format(hours, config.stale_hours)
    end
end

local function only_get()
    local method = ngx.req.get_method()
    return method == "GET" or method == "HEAD"
end

function _M.ready()
    if not only_get() then
        return ngx.exit(405)
    end
    local reasons = {}
    check_store(reasons)
    check_lists(reasons)
    if #reasons > 0 then
        return respond.json(503, { ready = false, reasons = reasons })
    end
    return respond.json(200, { ready = true })
end

function _M.metrics()
    if not only_get() then
        return ngx.exit(405)
    end
    ngx.header["Content-Type"] = "text/plain; version=0.0.4; charset=utf-8"
    ngx.print(metrics.text(generations.current()))
    return ngx.exit(ngx.HTTP_OK)
end

return _M
