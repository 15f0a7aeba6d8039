-- Requests that no person's look stands behind: crawlers, known by User-Agent, and pages that are loaded ahead of time.
--
-- What they send is answered as if all were well, and nothing is stored: they would only try again. A crawler's feed is
-- nobody's: the default list. Mutable state, per worker: what AGENTS or more of the last names were found to be.

local caches = require("edge.cache")
local config = require("edge.config").get()
local headers = require("edge.headers")
local metrics = require("edge.metrics")

local find_pattern, gsub_pattern = ngx.re.find, ngx.re.gsub
local get = headers.get

local AGENTS = 2000
local PURPOSES = { "sec-purpose", "purpose", "x-moz", "x-purpose" }

-- Parts of names. "bot" is the end of most crawlers' names, and of Cubot, which makes telephones. Names of HTTP
-- libraries and of headless browsers are not here: a site's own systems and tests use them; see the setting bots.
local KNOWN = {
    "(?<!cu)bots?(?![a-z])", "crawl", "spider", "slurp", "scrapy", "httrack", "nutch", "archiver", "archive\\.org",
    "facebookexternalhit", "facebookcatalog", "meta-external", "whatsapp/", "skypeuripreview", "bingpreview", "embedly",
    "quora link preview", "vkshare", "mediapartners-google", "apis-google", "google-inspectiontool", "google-safety",
    "google-read-aloud", "googleother", "feedfetcher", "chatgpt-user", "perplexity-user", "claude-user", "cohere-ai",
    "chrome-lighthouse", "pagespeed", "gtmetrix", "pingdom", "statuscake", "site24x7", "w3c_validator", "monitoring",
}

-- Every character of a setting that means something in a pattern stands for itself there.
local function literal(text)
    return (gsub_pattern(text, "[^A-Za-z0-9_ ]", "\\$0", "jo"))
end

local function compile()
    local parts = { unpack(KNOWN) }
    for name in config.bots:gmatch("[^,]+") do
        parts[#parts + 1] = literal(name:match("^ *(.-) *$"))
    end
    return table.concat(parts, "|")
end

local PATTERN = compile()
local agents = caches.new(AGENTS)

local _M = {}

-- Whether the request, by the headers `sent`, says that a crawler sends it.
function _M.is_bot(sent)
    local agent = get(sent, "user-agent")
    if not agent then
        return false
    end
    local known = agents:get(agent)
    if known == nil then
        known = find_pattern(agent, PATTERN, "ijo") ~= nil
        agents:set(agent, known)
    end
    return known
end

-- Whether a browser says that it loads the page ahead of time, perhaps for nobody.
local function is_ahead(sent)
    for i = 1, #PURPOSES do
        local purpose = get(sent, PURPOSES[i])
        if purpose and find_pattern(purpose, "prefetch|prerender|preview", "ijo") then
            return true
        end
    end
    return false
end

-- Whether what this request reports is to be dropped, since nobody has looked; counts it then.
function _M.dropped(sent)
    local reason = _M.is_bot(sent) and "bot" or is_ahead(sent) and "prerender"
    if reason then
        metrics.drop(reason)
    end
    return reason
end

return _M
