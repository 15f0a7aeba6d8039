-- Counters and histograms of all workers in one shared dictionary, as Prometheus text.
--
-- A counter is the entry "<name>{<labels>}". A histogram keeps its buckets apart ("<name>_bucket{…}", not yet summed)
-- and its sum in microseconds, since the dictionary adds whole numbers exactly. Labels come from fixed lists,
-- never from a request's text, so the number of entries is bounded.

local floor = math.floor
local concat, sort = table.concat, table.sort

local counters = ngx.shared.nightfeed_metrics

local _M = {}

local BOUNDS = { 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1 }

local HELP = {
    { "nightfeed_requests_total", "counter", "Requests by route and status." },
    { "nightfeed_request_seconds", "histogram", "Time from a request's first byte to its answer." },
    { "nightfeed_feeds_total", "counter", "Feed pages by where they came from." },
    { "nightfeed_events_total", "counter", "Events by kind and outcome: stored, unstored, or why they were rejected." },
    { "nightfeed_impressions_total", "counter", "Impressions that counted: the first of a person and item." },
    { "nightfeed_clicks_total", "counter", "Clicks that counted: the first of a person and item." },
    { "nightfeed_repeat_impressions_total", "counter", "Impressions of items that the person had seen before." },
    { "nightfeed_dropped_beacons_total", "counter", "Beacons of which nothing was stored, by reason." },
    { "nightfeed_uncounted_events_total", "counter", "Events of anonymous people that are stored, not counted." },
    { "nightfeed_identities_total", "counter", "Identities minted for visitors without one." },
    { "nightfeed_identities_refused_total", "counter", "Newcomers who got none: too many from one address." },
    { "nightfeed_merges_total", "counter", "Histories of anonymous people merged into signed-in people's." },
    { "nightfeed_store_failures_total", "counter", "Requests to Redis that failed." },
    { "nightfeed_catalogue_version", "gauge", "The catalogue's version that each nginx worker has read." },
    { "nightfeed_generation", "gauge", "The generation that is served." },
    { "nightfeed_list_age_seconds", "gauge", "Seconds since that generation was made." },
    { "nightfeed_last_good_run_timestamp_seconds", "gauge", "When the last run that was published ended, Unix time." },
}

-- "<name>{<labels>}", made once for each: labels come from fixed lists.
local names = {}

local function entry(name, labels)
    if labels == "" then
        return name
    end
    local known = names[name]
    if not known then
        known = {}
        names[name] = known
    end
    local text = known[labels]
    if not text then
        text = name .. "{" .. labels .. "}"
        known[labels] = text
    end
    return text
end

-- labels: 'route="feed",status="200"', or "" for none.
function _M.count(name, labels, by)
    if by ~= 0 then
        counters:incr(entry(name, labels), by or 1, 0)
    end
end

-- A gauge: what it is now.
function _M.set(name, labels, value)
    counters:set(entry(name, labels), value)
end

local function bound_of(seconds)
    for i = 1, #BOUNDS do
        if seconds <= BOUNDS[i] then
            return BOUNDS[i]
        end
    end
    return "+Inf"
end

function _M.observe(route, seconds)
    local label = 'route="' .. route .. '"'
    _M.count("nightfeed_request_seconds_bucket", label .. ',le="' .. bound_of(seconds) .. '"')
    _M.count("nightfeed_request_seconds_sum", label, floor(seconds * 1000000 + 0.5))
end

-- Of answers that say by their status that nothing was stored, the reason; other statuses are "refused".
local DROPPED = {
    [400] = "malformed", [408] = "too_slow", [413] = "too_large", [414] = "too_large", [422] = "invalid",
    [429] = "rate_limited", [431] = "too_large", [499] = "client_left", [500] = "error", [501] = "malformed",
    [503] = "store",
}
local TIMED = { beacon = true, feed = true, pixel = true }

-- Counts a beacon of which nothing is stored, for a reason that its status does not tell.
function _M.drop(reason)
    ngx.ctx.dropped = true
    _M.count("nightfeed_dropped_beacons_total", 'reason="' .. reason .. '"')
end

-- Counts the request that ends now; called in the log phase, so that answers made by nginx itself count, too.
function _M.request()
    local route, status = ngx.var.route, ngx.status
    _M.count("nightfeed_requests_total", 'route="' .. route .. '",status="' .. status .. '"')
    if TIMED[route] then
        _M.observe(route, ngx.now() - ngx.req.start_time())
    end
    if status >= 300 and (route == "beacon" or route == "pixel") and not ngx.ctx.dropped then
        _M.count("nightfeed_dropped_beacons_total", 'reason="' .. (DROPPED[status] or "refused") .. '"')
    end
end

local function histogram_lines(lines, name, values)
    for route in pairs(TIMED) do
        local label, total = 'route="' .. route .. '"', 0
        for i = 1, #BOUNDS + 1 do
            local le = label .. ',le="' .. (BOUNDS[i] or "+Inf") .. '"'
            total = total + (values[name .. "_bucket{" .. le .. "}"] or 0)
            lines[#lines + 1] = name .. "_bucket{" .. le .. "} " .. total
        end
        local sum = values[name .. "_sum{" .. label .. "}"] or 0
        lines[#lines + 1] = name .. "_sum{" .. label .. "} " .. ("%.6f"):format(sum / 1000000)
        lines[#lines + 1] = name .. "_count{" .. label .. "} " .. total
    end
end

local function counter_lines(lines, name, values)
    local found = {}
    for key, value in pairs(values) do
        if key == name or key:sub(1, #name + 1) == name .. "{" then
            found[#found + 1] = key .. " " .. ("%.0f"):format(value)
        end
    end
    sort(found)
    for i = 1, #found do
        lines[#lines + 1] = found[i]
    end
end

local function snapshot()
    local values = {}
    for _, key in ipairs(counters:get_keys(0)) do
        values[key] = counters:get(key)
    end
    return values
end

-- All metrics. generation: { generation =, made_at = } of the lists that are served, or nil.
function _M.text(generation)
    local lines, values = {}, snapshot()
    if generation then
        values.nightfeed_generation = generation.generation
        values.nightfeed_list_age_seconds = math.max(0, ngx.time() - generation.made_at)
        values.nightfeed_last_good_run_timestamp_seconds = generation.made_at
    end
    for _, metric in ipairs(HELP) do
        local name, kind, help = metric[1], metric[2], metric[3]
        lines[#lines + 1] = "# HELP " .. name .. " " .. help
        lines[#lines + 1] = "# TYPE " .. name .. " " .. kind
        local write = kind == "histogram" and histogram_lines or counter_lines
        write(lines, name, values)
    end
    return concat(lines, "\n") .. "\n"
end

return _M
