-- The headers of a request, read at once: asking nginx for one after the other costs more than all of them do.
--
-- Names are in lower case. Where a header came several times the first one counts; cookies, which HTTP/2 sends one by
-- one, are joined.

local concat = table.concat
local get_headers = ngx.req.get_headers
local rawget, type = rawget, type

local ALL = 0

local _M = {}

-- The headers of this request, for `get`.
function _M.read()
    return get_headers(ALL)
end

-- One of them, or nil. Not by indexing: for a name that is not there that tries other spellings.
function _M.get(headers, name)
    local value = rawget(headers, name)
    if type(value) == "table" then
        return name == "cookie" and concat(value, "; ") or value[1]
    end
    return value
end

return _M
