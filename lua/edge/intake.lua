-- From events with item numbers to Redis: who, how much they may send, what counts, one write.

local counting = require("edge.counting")
local identity = require("edge.identity")
local limits = require("edge.limits")
local record = require("edge.record")
local respond = require("edge.respond")

local _M = {}

-- Who sent the events, by the headers `sent`, once Redis has them; or nil and what `refuse` needs to answer why not.
function _M.store(sent, events, now_ms)
    local id = identity.request(sent)
    local admitted, reason = limits.admit(id, events)
    if not admitted then
        record.count_all(events, reason)
        return nil, { id = id, reason = reason }
    end
    counting.weigh(id, events)
    if not record.write(id.user, events, now_ms) then
        return nil, {}
    end
    return id
end

-- Answers a request whose events were not stored; message: what to say of a store that fails.
function _M.refuse(refused, message)
    if refused.reason then
        return limits.refuse(refused.id, refused.reason)
    end
    return respond.unavailable(message)
end

return _M
