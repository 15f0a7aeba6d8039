-- Every answer of a handler: status first, then the body, then the end of the request.
--
-- What all answers of a route have in common, Cache-Control for one, is in nginx/edge.conf: nginx adds a header for a
-- fifth of what it costs here.

local cjson = require("cjson.safe")
local cors = require("edge.cors")

local encode = cjson.encode

local _M = {}

-- Seconds after which a client may try again what the store could not take.
local RETRY_SECONDS = 2

function _M.json(status, value)
    ngx.status = status
    cors.expose()
    ngx.header["Content-Type"] = "application/json"
    local body = encode(value)
    ngx.header["Content-Length"] = #body
    ngx.print(body)
    return ngx.exit(ngx.HTTP_OK)
end

-- { error = message } and what else the caller wants to say.
function _M.problem(status, message, more)
    local value = more or {}
    value.error = message
    return _M.json(status, value)
end

function _M.unavailable(message)
    ngx.header["Retry-After"] = RETRY_SECONDS
    return _M.problem(503, message)
end

function _M.nothing()
    cors.expose()
    return ngx.exit(204)
end

return _M
