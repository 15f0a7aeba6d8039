-- What lets pages of the origins in allowed_origins read an answer of a handler. nginx/cors.conf does the same for the
-- errors that nginx answers itself.

local config = require("edge.config").get()

local gmatch = string.gmatch
local var = ngx.var

local EXPOSED = "Nightfeed-Token, Retry-After"

local listed = {}
for name in gmatch(config.allowed_origins, "[^,%s]+") do
    listed[name] = true
end
local some = next(listed) ~= nil

local _M = { listed = listed }

-- Sets the answer's headers.
function _M.expose()
    local origin = some and var.http_origin
    if origin and listed[origin] then
        local header = ngx.header
        header["Access-Control-Allow-Origin"] = origin
        header["Access-Control-Allow-Credentials"] = "true"
        header["Access-Control-Expose-Headers"] = EXPOSED
        header["Vary"] = "Origin"
    end
end

return _M
