-- What people saw lately, as this server acknowledged it: what is left out of a page while Redis cannot be asked.
--
-- One entry a person and item in memory that all workers share, bounded: the oldest entries make room for new ones.
-- While Redis answers nothing reads it: seen sets are the truth. An entry lasts an hour.

local shared = ngx.shared.nightfeed_recent

local KEPT_S = 3600

local _M = {}

local function key(user, number)
    return user .. " " .. number
end

function _M.add(user, events)
    for i = 1, #events do
        local number = events[i].number
        if number then
            shared:set(key(user, number), true, KEPT_S)
        end
    end
end

-- Another store numbers its items anew: what is known by number means nothing then.
function _M.forget_all()
    shared:flush_all()
end

function _M.has(user, number)
    return shared:get(key(user, number)) ~= nil
end

return _M
