-- Counters and histograms of all workers, as Prometheus text.
--
-- A counter is "<name>{<labels>}". A histogram keeps its buckets apart ("<name>_bucket{…}", not yet summed) and its sum
-- in microseconds, so that all are whole numbers. Labels come from fixed lists, never from a request's text: the number
-- of counters is bounded.
--
-- Each worker adds to a column of its own in memory that all share: no lock, no lookup, and nothing is lost with a
-- worker that is killed. Which row of the columns is whose, and gauges, are in a shared dictionary.

local ffi = require("ffi")
local mapped = require("edge.mapped")

local floor = math.floor
local concat, sort = table.concat, table.sort

local ROWS, COLUMNS = 1024, 64
local ROW = "row "

local shared = ngx.shared.nightfeed_metrics
local columns = ffi.cast("double *", mapped.map("metrics", 8 * ROWS * COLUMNS))
local column = columns

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
    { "nightfeed_synced_timestamp_seconds", "gauge", "When each nginx worker last heard from Redis what changed." },
    { "nightfeed_generation", "gauge", "The generation that is served." },
    { "nightfeed_list_age_seconds", "gauge", "Seconds since that generation was made." },
    { "nightfeed_last_good_run_timestamp_seconds", "gauge", "When the last run that was published ended, Unix time." },
}

-- Rows by name and labels, as far as this worker has used them.
local rows = {}

local function entry(name, labels)
    return labels == "" and name or name .. "{" .. labels .. "}"
end

-- The row of a counter, which all workers agree on; row 0, which nobody reads, when there are too many.
local function find_row(name, labels)
    local key = ROW .. entry(name, labels)
    local row = shared:get(key)
    if not row then
        row = shared:incr("rows", 1, 0)
        if not row or row >= ROWS then
            return 0
        end
        shared:add(key, row)
        row = shared:get(key) or 0  -- another worker may have been first
    end
    return row
end

local function row_of(name, labels)
    local known = rows[name]
    if not known then
        known = {}
        rows[name] = known
    end
    local row = find_row(name, labels)
    known[labels] = row
    return row
end

-- Gives this worker its column: for init_worker_by_lua. One that is leaving after a reload has another one.
function _M.start()
    column = columns + (shared:incr("columns", 1, -1) % COLUMNS) * ROWS
end

-- labels: 'route="feed",status="200"', or "" for none.
function _M.count(name, labels, by)
    local known = rows[name]
    local row = known and known[labels] or row_of(name, labels)
    column[row] = column[row] + (by or 1)
end

-- A gauge: what it is now.
function _M.set(name, labels, value)
    shared:set(entry(name, labels), value)
end

local function bucket_of(seconds)
    for i = 1, #BOUNDS do
        if seconds <= BOUNDS[i] then
            return i
        end
    end
    return #BOUNDS + 1
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

-- Labels of a route: by status, by bucket, and of its sum.
local routes = {}

local function labels_of(route)
    local known = routes[route]
    if not known then
        known = { statuses = {}, buckets = {}, sum = 'route="' .. route .. '"' }
        for i = 1, #BOUNDS + 1 do
            known.buckets[i] = known.sum .. ',le="' .. (BOUNDS[i] or "+Inf") .. '"'
        end
        routes[route] = known
    end
    return known
end

-- Counts the request that ends now; called in the log phase, so that answers made by nginx itself count, too. Its route
-- is what nginx.conf says, where the caller does not know it.
function _M.request(known)
    local route, status = known or ngx.var.route, ngx.status
    local labels = labels_of(route)
    local label = labels.statuses[status]
    if not label then
        label = labels.sum .. ',status="' .. status .. '"'
        labels.statuses[status] = label
    end
    _M.count("nightfeed_requests_total", label)
    if TIMED[route] then
        local seconds = ngx.now() - ngx.req.start_time()
        _M.count("nightfeed_request_seconds_bucket", labels.buckets[bucket_of(seconds)])
        _M.count("nightfeed_request_seconds_sum", labels.sum, floor(seconds * 1000000 + 0.5))
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
            found[#found + 1] = key .. " " .. ("%.15g"):format(value)
        end
    end
    sort(found)
    for i = 1, #found do
        lines[#lines + 1] = found[i]
    end
end

local function total(row)
    local sum = 0
    for i = 0, COLUMNS - 1 do
        sum = sum + columns[i * ROWS + row]
    end
    return sum
end

local function snapshot()
    local values = {}
    for _, key in ipairs(shared:get_keys(0)) do
        local value = shared:get(key)
        if key:sub(1, #ROW) == ROW then
            values[key:sub(#ROW + 1)] = total(value)
        else
            values[key] = value
        end
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
