-- GET /feed?n=20&cursor=…: one page of what the person has not seen.
--
-- One pipeline reads the person's list and everything they saw; the page is assembled without a yield; then the items'
-- JSON is put together. Whenever Redis fails on the way, the answer is a page of the fallback instead.
-- Who has opted out, or is sent by another site's page, is nobody: user is nil, and nothing of a person is read.

local assemble = require("edge.assemble")
local buffer = require("edge.buffer")
local config = require("edge.config").get()
local consent = require("edge.consent")
local cors = require("edge.cors")
local cursors = require("edge.cursor")
local fallback = require("edge.fallback")
local fresh = require("edge.fresh")
local generations = require("edge.generations")
local headers = require("edge.headers")
local identity = require("edge.identity")
local keys = require("edge.keys")
local lists = require("edge.lists")
local metrics = require("edge.metrics")
local origin = require("edge.origin")
local records = require("edge.records")
local respond = require("edge.respond")
local seen = require("edge.seen")
local store = require("edge.store")
local sync = require("edge.sync")
local visitors = require("edge.visitors")

local add, add_number, clear = buffer.add, buffer.add_number, buffer.clear
local find = string.find
local tonumber = tonumber

local PAGE, LARGEST = 20, 100
local NO_LIST, NO_POOL = lists.none(), lists.no_pool()
-- What tells a site's developer why a page is not the person's.
local IMPERSONAL = {
    opted_out = ',"personal":false,"why":"opted_out"', cross_site = ',"personal":false,"why":"cross_site"',
    bot = ',"personal":false,"why":"bot"', new_users = ',"personal":false,"why":"new_users"',
}
local OPENINGS = {
    list = ',"source":"list","items":[', default = ',"source":"default","items":[',
    fallback = ',"source":"fallback","items":[',
}
local SOURCES = { list = 'source="list"', default = 'source="default"', fallback = 'source="fallback"' }

-- The answer that is being put together.
local body = buffer.new(16384)

local _M = {}

-- { wanted, state }, or nil and what is wrong with the request.
local function parse()
    local n, text = ngx.var.arg_n, ngx.var.arg_cursor
    local wanted = PAGE
    if n then
        wanted = find(n, "^%d%d?%d?$") and tonumber(n)
        if not wanted or wanted < 1 or wanted > LARGEST then
            return nil, "n must be a whole number from 1 to " .. LARGEST
        end
    end
    if not text or text == "" then
        return { wanted = wanted }
    end
    local state, err = cursors.parse(ngx.unescape_uri(text))
    if not state then
        return nil, err
    end
    return { wanted = wanted, state = state }
end

-- The person's list and the pool it points into; both empty when there is none or its pool is gone.
local function published(raw)
    if not raw then
        return NO_LIST, NO_POOL
    end
    local list, err = lists.read(raw)
    if not list then
        ngx.log(ngx.ERR, "ignored a published list: ", err)
        return NO_LIST, NO_POOL
    end
    local pool
    pool, err = generations.pool(list.generation)
    if pool == nil then
        return nil, err
    end
    if not pool then
        return NO_LIST, NO_POOL
    end
    return list, pool
end

-- HGET of the person's list and GET of what they saw, as Redis's protocol wants them.
local function request_of(user)
    local list, had = keys.list(user), keys.seen(user)
    return "*3\r\n$4\r\nHGET\r\n$" .. #list .. "\r\n" .. list .. "\r\n$" .. #user .. "\r\n" .. user
        .. "\r\n*2\r\n$3\r\nGET\r\n$" .. #had .. "\r\n" .. had .. "\r\n"
end

-- All that Redis knows for this page: { list, pool, had }, `had` for seen.stamp; or nil and why not.
local function read(user)
    if not sync.ensure() then
        return nil, "nothing could be read from Redis yet"
    elseif not user then
        return { list = NO_LIST, pool = NO_POOL, had = false }
    end
    local replies, err = store.send(request_of(user), 2)
    if not replies then
        return nil, err
    end
    local list, pool = published(replies[1])
    if not list then
        return nil, pool
    end
    return { list = list, pool = pool, had = replies[2] }
end

-- A walk goes on only through the lists it began with, and for a day: then its cursor begins the new list.
local function still_valid(state, list, generation, now)
    return state and not state.fallback
        and state.list_generation == list.generation and state.generation == generation.generation
        and state.start <= now + 1 and state.start > now - fresh.SLACK and state
        or nil
end

local function begin(known, generation, now, wanted, state, repeats)
    local stamps, stamp = seen.begin()
    if not repeats then
        seen.stamp(known.had, now, stamp + 1)
    end
    return assemble.begin(known.list, known.pool, generation, stamps, stamp, now, state, wanted)
end

-- The page as { walk's numbers, codes, size }, its source, and the cursor of the next one.
local function finish(walk, wanted, repeats)
    local page = { numbers = walk.numbers, codes = walk.codes, size = walk.size }
    page.source = repeats and "fallback" or assemble.source()
    if walk.size == wanted then
        local cursor = cursors.of(walk, repeats)
        page.cursor = assemble.more() and cursor or nil
    end
    return page
end

-- Nothing is left of this walk. Is there anything unseen at all? If not: repeats where the site wants them.
local function run_out(known, generation, now, state, wanted)
    local page = { size = 0, numbers = {}, codes = {}, source = generation.generation > 0 and "fallback" or "default" }
    if state then
        begin(known, generation, now, 1)
        if assemble.more() then
            return page
        end
    end
    if config.repeats then
        local walk = begin(known, generation, now, wanted, nil, true)
        assemble.fill()
        if walk.size > 0 then
            return finish(walk, wanted, true)
        end
    end
    page.exhausted = true
    return page
end

local function choose(known, now, state, wanted)
    local generation = generations.served()
    state = still_valid(state, known.list, generation, now)
    local repeats = config.repeats and state and state.repeats
    local walk = begin(known, generation, now, wanted, state, repeats)
    assemble.fill()
    local page
    if walk.size > 0 then
        page = finish(walk, wanted, repeats)
    else
        page = run_out(known, generation, now, state, wanted)
    end
    page.generation = known.list.generation > 0 and known.list.generation or generation.generation
    return page
end

-- The answer. A text is "," and an item's JSON, or false where the record vanished meanwhile. why: it is nobody's page,
-- or nil.
local function render(user, page, texts, why)
    clear(body)
    if user then
        add(body, '{"user":"')
        add(body, user)
        add(body, '","generation":')
    else
        add(body, '{"user":null,"generation":')
    end
    add_number(body, page.generation)
    add(body, OPENINGS[page.source])
    local first = true
    for i = 1, #texts do
        local text = texts[i]
        if text then
            add(body, text, first and 1 or 0)
            first = false
        end
    end
    if page.cursor then
        add(body, '],"cursor":"')
        add(body, page.cursor)
        add(body, '"')
    else
        add(body, '],"cursor":null')
    end
    if why then
        add(body, IMPERSONAL[why] or "")
    end
    add(body, page.exhausted and ',"exhausted":true}' or "}")
    return buffer.text(body)
end

-- A page and its items' texts from Redis; nil and why when Redis fails.
local function from_store(user, request, now)
    local known, err = read(user)
    if not known then
        return nil, err
    end
    local page = choose(known, now, request.state, request.wanted)
    local texts
    texts, err = records.each(page.numbers, page.codes, page.size)
    if not texts then
        return nil, err
    end
    return page, texts
end

local function from_memory(user, request, now)
    local state = request.state
    local index = state and (state.fallback or state.position) or 0
    local texts, generation, following = fallback.page(request.wanted, index, now, user)
    local cursor = following and cursors.of_fallback(following)
    return { generation = tonumber(generation), source = "fallback", cursor = cursor }, texts
end

local function send(id, text)
    if id then
        identity.set_cookie(id)
    end
    cors.expose()
    ngx.header["Content-Length"] = #text
    ngx.print(text)
    return ngx.exit(ngx.HTTP_OK)
end

-- Who asks, or false; why nobody may be known by this request, or nil.
local function who(sent)
    local why = consent.refused(sent) and "opted_out" or not origin.may_read(sent) and "cross_site"
        or visitors.is_bot(sent) and "bot" or nil
    local id = not why and identity.request(sent)
    return id, why or not id.user and "new_users" or nil
end

function _M.handle()
    local method, sent = ngx.req.get_method(), headers.read()
    if method ~= "GET" and method ~= "HEAD" then
        return origin.other_method(sent, method, "GET, HEAD")
    end
    local request, problem = parse()
    if not request then
        return respond.problem(400, problem)
    end
    local id, why = who(sent)
    local user, now = id and id.user, ngx.time()
    local page, texts = from_store(user, request, now)
    if not page then
        page, texts = from_memory(user, request, now)
    end
    metrics.count("nightfeed_feeds_total", SOURCES[page.source])
    return send(id, render(user, page, texts, why))
end

return _M
