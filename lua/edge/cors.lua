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

-- Sets the answer's headers; vary: what else it depends on, or nil.
function _M.expose(vary)
    local header, origin = ngx.header, some and var.http_origin
    if origin and listed[origin] then
        header["Access-Control-Allow-Origin"] = origin
        header["Access-Control-Allow-Credentials"] = "true"
        header["Access-Control-Expose-Headers"] = EXPOSED
        vary = vary and vary .. ", Origin" or "Origin"
    end
    if vary then
        header["Vary"] = vary
    end
end

return _M
