-- A bounded cache: get, set, delete, flush_all. What was not asked for while `size` other entries came goes.
--
-- Two tables: one that fills, and the one that was full before it. An entry of the older one that is asked for moves
-- on; when the younger one is full, it becomes the older one, and what is left there goes at once. That needs no list
-- to keep in order at each look, and never holds more than twice `size` entries.

local new_tab = require("table.new")

local setmetatable = setmetatable

local _M = {}
local methods = { __index = _M }

function _M.new(size)
    return setmetatable({ young = new_tab(0, size), old = {}, count = 0, size = size }, methods)
end

function _M:set(key, value)
    if self.young[key] == nil then
        if self.count >= self.size then
            self.old, self.young, self.count = self.young, new_tab(0, self.size), 0
        end
        self.count = self.count + 1
    end
    self.young[key] = value
end

-- The value, which is never nil; nil where there is none.
function _M:get(key)
    local value = self.young[key]
    if value == nil then
        value = self.old[key]
        if value ~= nil then
            self:set(key, value)
        end
    end
    return value
end

function _M:delete(key)
    self.young[key], self.old[key] = nil, nil
end

function _M:flush_all()
    self.young, self.old, self.count = new_tab(0, self.size), {}, 0
end

return _M
