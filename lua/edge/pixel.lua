-- GET /pixel.gif?item=…&event=impression: one event of a page without scripts, answered by a 1×1 picture.

local consent = require("edge.consent")
local cors = require("edge.cors")
local events = require("edge.events")
local headers = require("edge.headers")
local identity = require("edge.identity")
local intake = require("edge.intake")
local metrics = require("edge.metrics")
local origin = require("edge.origin")
local record = require("edge.record")
local respond = require("edge.respond")
local visitors = require("edge.visitors")

local floor = math.floor

local GIF = ngx.decode_base64("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
local MAX_ARGUMENTS = 20

local _M = {}

local NUMBERS = { ts = true, position = true, list = true, ms = true }

-- The event that the arguments describe, or nil, message. Names that no rule knows are ignored, as in a beacon.
local function read_arguments(now_ms)
    local arguments, err = ngx.req.get_uri_args(MAX_ARGUMENTS)
    if err then
        return nil, "more than " .. MAX_ARGUMENTS .. " arguments: leave out those that are not about the event"
    end
    local raw = { event = "impression", ts = now_ms }
    for _, name in ipairs({ "event", "item", "ts", "position", "list", "ms", "kind", "query" }) do
        local value = arguments[name]
        if type(value) == "table" then
            return nil, name .. " stands twice: send it once"
        elseif value == true or value == "" then
            return nil, name .. " has no value: write " .. name .. "=…"
        elseif value then
            local plain = NUMBERS[name] and value:find("^%d%d?%d?%d?%d?%d?%d?%d?%d?%d?%d?%d?%d?%d?%d?$")
            raw[name] = plain and tonumber(value) or value
        end
    end
    return raw
end

local function send_picture()
    cors.expose()
    ngx.header["Content-Type"] = "image/gif"
    ngx.header["Content-Length"] = #GIF
    ngx.print(GIF)
    return ngx.exit(ngx.HTTP_OK)
end

local STORE_FAILED = "the store does not answer: nothing was stored"

local function store_event(sent, event, now_ms)
    local known, unknown = record.resolve({ event })
    if not known then
        return respond.unavailable(STORE_FAILED)
    elseif #unknown > 0 then
        return respond.problem(422, "unknown item: " .. event.item)
    end
    local id, refused = intake.store(sent, known, now_ms)
    if not id then
        return intake.refuse(refused, STORE_FAILED)
    end
    identity.set_cookie(id)
    return send_picture()
end

local function take(sent)
    local now_ms = floor(ngx.now() * 1000)
    local raw, problem = read_arguments(now_ms)
    if not raw then
        return respond.problem(400, problem)
    end
    local event, message, reason = events.check(raw, now_ms)
    if not event then
        record.count(events.kind_of(raw), reason)
        return respond.problem(422, message)
    end
    return store_event(sent, event, now_ms)
end

function _M.handle()
    local method, sent = ngx.req.get_method(), headers.read()
    if method == "HEAD" then
        metrics.drop("head")
        return send_picture()
    elseif method ~= "GET" then
        return ngx.exit(405)
    elseif consent.refused(sent) then
        consent.drop()
        return send_picture()
    elseif visitors.dropped(sent) then
        return send_picture()
    elseif not origin.may_write_by_picture(sent) then
        return origin.refuse()
    end
    return take(sent)
end

return _M
