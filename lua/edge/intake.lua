-- From events with item numbers to Redis: who, how much they may send, what counts, one write.

local counting = require("edge.counting")
local identity = require("edge.identity")
local limits = require("edge.limits")
local record = require("edge.record")
local respond = require("edge.respond")

local _M = {}

-- Who sent the events, once Redis has them; or nil, and a function that answers why not (its argument: what to say of
-- a store that fails).
function _M.store(events, now_ms)
    local id = identity.request()
    local admitted, reason = limits.admit(id, events)
    if not admitted then
        record.count_all(events, reason)
        return nil, function() return limits.refuse(id, reason) end
    end
    counting.weigh(id, events)
    if not record.write(id.user, events, now_ms) then
        return nil, respond.unavailable
    end
    return id
end

return _M
