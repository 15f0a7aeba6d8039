-- Keeps this worker's copy of the catalogue in step with Redis, and turns item ids into numbers.
--
-- `version` tells that something changed and `changes` which items; only their rows are read again. Another store
-- (the version fell, vanished, or jumped) means reading everything. Versions of a new store begin at its clock.
--
-- Mutable state, per worker: the rows (edge.rows), and a cache of IDS_KEPT ids or more.

local caches = require("edge.cache")
local keys = require("edge.keys")
local metrics = require("edge.metrics")
local records = require("edge.records")
local recent = require("edge.recent")
local rows = require("edge.rows")
local store = require("edge.store")
local sync = require("edge.sync")

local floor, min = math.floor, math.min
local insert, sort = table.insert, table.sort
local tonumber = tonumber

local IDS_KEPT = 50000
local CHUNK = 1048576          -- bytes of rows read at once
local MOST_CHANGES = 5000      -- items; more of them: read everything
local FURTHEST = 500           -- versions in one round; further: another store, or work for which reading all is right
local BULK = { timeout_ms = 5000 }

local META, CHANGES, IDS = keys.shared("meta"), keys.shared("changes"), keys.shared("ids")
local VERSION = keys.shared("version")

local _M = {}

local ids = caches.new(IDS_KEPT)
local version                  -- what the rows are up to date with; nil until they were read
local loads = 0                -- how often everything was read

-- Whether the rows have been read since this worker started.
function _M.ready()
    return version ~= nil
end

-- Moves whenever everything was read anew, as it is when Redis holds another store.
function _M.loads()
    return loads
end

local function read_all(draft, length)
    for from = 0, length - 1, CHUNK do
        local till = min(from + CHUNK, length) - 1
        local replies, err = store.exec({ { "GETRANGE", META, from, till } }, BULK)
        if not replies then
            return nil, err
        end
        if #replies[1] ~= till - from + 1 then
            return nil, "failed to read the catalogue: it shrank meanwhile"
        end
        rows.write(draft, from / rows.SIZE + 1, replies[1])
    end
    return true
end

local function reload(newest)
    local replies, err = store.exec({ { "STRLEN", META } })
    if not replies then
        return nil, err
    end
    local items = floor(replies[1] / rows.SIZE)
    local draft = rows.draft(items)
    local ok
    ok, err = read_all(draft, items * rows.SIZE)
    if not ok then
        return nil, err
    end
    rows.adopt(draft, items)
    records.forget_all()
    ids:flush_all()
    if version then
        recent.forget_all()
    end
    version, loads = newest, loads + 1
    return true
end

-- Runs of neighbouring numbers, as { first, last }: one read each.
local function runs_of(numbers)
    sort(numbers)
    local runs = {}
    for _, n in ipairs(numbers) do
        local run = runs[#runs]
        if run and n <= run[2] + 1 then
            run[2] = n
        else
            insert(runs, { n, n })
        end
    end
    return runs
end

local function read_rows(numbers)
    local runs, commands = runs_of(numbers), {}
    for i, run in ipairs(runs) do
        commands[i] = { "GETRANGE", META, (run[1] - 1) * rows.SIZE, run[2] * rows.SIZE - 1 }
    end
    local replies, err = store.exec(commands, BULK)
    if not replies then
        return nil, err
    end
    for i, run in ipairs(runs) do
        rows.replace(run[1], replies[i])
    end
    return true
end

-- No yield between writing the rows and forgetting the texts: a request sees both or neither.
local function catch_up(newest)
    local replies, err = store.exec({
        { "ZRANGE", CHANGES, "(" .. ("%.0f"):format(version), "+inf", "BYSCORE", "LIMIT", 0, MOST_CHANGES + 1 },
    }, BULK)
    if not replies then
        return nil, err
    end
    local numbers = replies[1]
    if #numbers > MOST_CHANGES then
        return reload(newest)
    end
    for i = 1, #numbers do
        numbers[i] = tonumber(numbers[i])
    end
    if #numbers > 0 then
        local ok
        ok, err = read_rows(numbers)
        if not ok then
            return nil, err
        end
    end
    for i = 1, #numbers do
        records.forget(numbers[i])
    end
    version = newest
    return true
end

local function follow(newest)
    if version == newest then
        return true
    end
    if not version or newest < version or newest - version > FURTHEST then
        return reload(newest)
    end
    return catch_up(newest)
end

-- Brings the rows up to date with the version that Redis answered. True, or nil and why not.
local function take(reply)
    local ok, err = follow(tonumber(reply or 0))
    if ok then
        metrics.set("nightfeed_catalogue_version", 'worker="' .. ngx.worker.id() .. '"', version)
    end
    return ok, err
end

sync.add({ "GET", VERSION }, take)

local function ask(missing, numbers)
    local command = { "HMGET", IDS }
    for i = 1, #missing do
        command[i + 2] = missing[i]
    end
    local asked = loads
    local replies, err = store.exec({ command })
    if not replies then
        return nil, err
    end
    for i = 1, #missing do
        local n = tonumber(replies[1][i])
        numbers[missing[i]] = n or false
        if n and asked == loads then
            ids:set(missing[i], n)
        end
    end
    return true
end

-- The number of an item that this worker knows by heart and that was not removed, or nil.
function _M.known(id)
    local n = ids:get(id)
    return n and not rows.removed(n) and n or nil
end

-- { id = number, or false for an id that is unknown or was removed }; nil and why when Redis fails.
-- What is unknown is not remembered: an item counts from the moment it was imported.
function _M.numbers(wanted)
    local numbers, missing = {}, {}
    for _, id in ipairs(wanted) do
        if numbers[id] == nil then
            local n = ids:get(id)
            numbers[id] = n or false
            if not n then
                missing[#missing + 1] = id
            end
        end
    end
    if #missing > 0 then
        local ok, err = ask(missing, numbers)
        if not ok then
            return nil, err
        end
    end
    for id, n in pairs(numbers) do
        if n and rows.removed(n) then
            numbers[id] = false
        end
    end
    return numbers
end

-- One item's number, or nil; nil and why when Redis fails.
function _M.number(id)
    local numbers, err = _M.numbers({ id })
    if not numbers then
        return nil, err
    end
    return numbers[id] or nil
end

return _M
