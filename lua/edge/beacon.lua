-- POST /beacon: what a person saw and did. parse → check → item numbers → one write → answer.
--
-- 204 all events are in Redis · 200 the valid ones are · 400, 413, 422 nothing is, and a retry is useless
-- 403 nothing is: another site's page sent it. Of who has opted out nothing is stored either, and the answer is 204.
-- 429, 503 nothing is, as far as is known: to be sent again, which counts nothing twice.

local consent = require("edge.consent")
local events = require("edge.events")
local headers = require("edge.headers")
local identity = require("edge.identity")
local intake = require("edge.intake")
local origin = require("edge.origin")
local plain = require("edge.plain")
local record = require("edge.record")
local respond = require("edge.respond")
local visitors = require("edge.visitors")

local floor = math.floor
local sort = table.sort

local _M = {}

-- nginx keeps a body in memory, but for one whose chunks are so small that what stands between them outgrows the
-- buffer: that is a file of at most 64 KiB, written a moment ago, so that reading it does not wait for a disk.
local function read_body()
    ngx.req.read_body()
    local body = ngx.req.get_body_data()
    if body then
        return body
    end
    local path = ngx.req.get_body_file()
    if not path then
        return nil
    end
    local file = assert(io.open(path, "rb"))
    body = file:read("*a")
    file:close()
    return body
end

-- The valid events, and the rejected ones as { index (from 0), error }.
local function check_all(batch, now_ms)
    local valid, rejected = {}, {}
    for i, raw in ipairs(batch.events) do
        local event, message, reason = events.check(raw, now_ms, batch.twice and batch.twice[i])
        if event then
            event.index = i - 1
            valid[#valid + 1] = event
        else
            rejected[#rejected + 1] = { index = i - 1, error = message }
            record.count(events.kind_of(raw), reason)
        end
    end
    return valid, rejected
end

local function by_index(a, b)
    return a.index < b.index
end

-- Those whose items are known, or nil when the store fails; the others are rejected.
local function resolve(valid, rejected)
    local known, unknown = record.resolve(valid)
    for i = 1, known and #unknown or 0 do
        local event = unknown[i]
        rejected[#rejected + 1] = { index = event.index, error = "unknown item: " .. event.item }
    end
    return known
end

local STORE_FAILED = "the store does not answer: nothing was stored, send the same again"

local function answer(id, valid, rejected)
    identity.set_cookie(id)
    if #rejected == 0 then
        return respond.nothing()
    end
    sort(rejected, by_index)
    return respond.json(200, { accepted = #valid, rejected = rejected })
end

local function take(sent)
    local body = read_body()
    if not body then
        return respond.problem(400, 'the body is empty: send {"events": [...]}')
    end
    local now_ms = floor(ngx.now() * 1000)
    local checked, rejected = plain.read(body, now_ms), {}
    if not checked then
        local batch, status, message = events.parse(body)
        if not batch then
            return respond.problem(status, message)
        end
        checked, rejected = check_all(batch, now_ms)
    end
    local valid = resolve(checked, rejected)
    if not valid then
        return respond.unavailable(STORE_FAILED)
    elseif #valid == 0 then
        sort(rejected, by_index)
        return respond.problem(422, "no event is valid: nothing was stored", { accepted = 0, rejected = rejected })
    end
    local id, refused = intake.store(sent, valid, now_ms)
    if not id then
        return intake.refuse(refused, STORE_FAILED)
    end
    return answer(id, valid, rejected)
end

function _M.handle()
    local method, sent = ngx.req.get_method(), headers.read()
    if method ~= "POST" then
        return origin.other_method(sent, method, "POST")
    elseif consent.refused(sent) then
        consent.drop()
        return respond.nothing()
    elseif visitors.dropped(sent) then
        return respond.nothing()
    elseif not origin.may_write(sent) then
        return origin.refuse()
    end
    return take(sent)
end

return _M
