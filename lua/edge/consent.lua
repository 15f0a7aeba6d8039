-- Whether a person has said no: by their browser (Sec-GPC: 1, Global Privacy Control), or by the site's opt-out cookie.
--
-- Then nothing is recorded about them, nothing is read of them, and no cookie is set; a token they send counts as none.

local config = require("edge.config").get()
local headers = require("edge.headers")
local metrics = require("edge.metrics")

local find, match = string.find, string.match
local get = headers.get

local cookie_start = config.opt_out_cookie .. "="

local _M = {}

-- Any of several cookies of the name counts: one was set by a page of another path or subdomain, and meant.
local function says_no(cookies)
    local first, last = find(cookies, cookie_start, 1, true)
    while first do
        if first == 1 or find(cookies, "^[; ]", first - 1) then
            local value = match(cookies, "^[^; ]*", last + 1)
            if value ~= "" and value ~= "0" then
                return true
            end
        end
        first, last = find(cookies, cookie_start, last + 1, true)
    end
    return false
end

-- Whether they have, by the headers of their request.
function _M.refused(sent)
    if get(sent, "sec-gpc") == "1" then
        return true
    end
    local cookies = get(sent, "cookie")
    return cookies ~= nil and says_no(cookies)
end

-- Counts a beacon that was dropped for it. Its body is not even looked at.
function _M.drop()
    metrics.drop("opted_out")
end

return _M
