-- Whose pages may act for the person whose cookie a request carries: this site's, and those in allowed_origins.
--
-- Browsers tell whose page asks in Sec-Fetch-Site, which no page can forge. Over plain HTTP, and where they are old,
-- they leave it out; then Origin decides. A request with neither is a server's, or an old browser's on this site.
-- What lets listed pages read answers is in edge.cors.

local cors = require("edge.cors")
local headers = require("edge.headers")
local metrics = require("edge.metrics")
local respond = require("edge.respond")

local get = headers.get
local match = string.match

local OWN = { ["same-origin"] = true, ["same-site"] = true, none = true }
-- Browsers ask again after at most two hours, whatever is said here.
local PREFLIGHT_SECONDS = 7200
local REFUSED = "this request comes from a page of another site: nothing was stored; when that site may send beacons, "
    .. "add its origin to allowed_origins in nightfeed.toml"

local _M = { REFUSED = REFUSED }

local listed = cors.listed

-- The scheme is not compared: behind a proxy that ends TLS, this server's own differs from what the browser sees.
local function is_own(sent, origin)
    local host = match(origin, "^https?://(.+)$")
    return host ~= nil and host == get(sent, "host")
end

local function is_known(sent, origin)
    return listed[origin] or is_own(sent, origin)
end

-- Whether the request, with the headers `sent`, may write what the person did.
function _M.may_write(sent)
    local site = get(sent, "sec-fetch-site")
    if OWN[site] then
        return true
    end
    local origin = get(sent, "origin")
    if site then
        return origin and listed[origin] or false
    end
    return not origin or is_known(sent, origin)
end

-- The same for a picture: browsers send no Origin with it, but the page's in Referer, unless the page forbids that.
function _M.may_write_by_picture(sent)
    local site, referer = get(sent, "sec-fetch-site"), get(sent, "referer")
    if get(sent, "origin") or OWN[site] or not (site or referer) then
        return _M.may_write(sent)
    end
    local page = referer and match(referer, "^%w[%w+.-]*://[^/?#]*")
    if site then
        return page and listed[page] or false
    end
    return page ~= nil and is_known(sent, page)
end

-- Whether the request may have the person's own feed. Who follows another site's link to it looks at it themselves.
function _M.may_read(sent)
    return _M.may_write(sent) or get(sent, "sec-fetch-dest") == "document"
end

-- 403, for a request that may not write.
function _M.refuse()
    metrics.drop("cross_site")
    return respond.problem(403, REFUSED)
end

-- Answers a request by another method than `allowed`: a listed page's preflight with 204, all else with 405.
function _M.other_method(sent, method, allowed)
    if method ~= "OPTIONS" or not listed[get(sent, "origin") or ""] then
        return ngx.exit(405)
    end
    ngx.header["Access-Control-Allow-Methods"] = allowed
    ngx.header["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
    ngx.header["Access-Control-Max-Age"] = PREFLIGHT_SECONDS
    return respond.nothing()
end

return _M
