-- Items as JSON, ready to be spliced into an answer, each behind a comma: ,{"reason":"top","id":…,"category":…,…}
--
-- Mutable state, per worker: a cache of KEPT such texts or more, one for each item and reason that was asked for.
-- A text enters the cache only if no change to the catalogue was learned of while Redis was asked for it.

local caches = require("edge.cache")
local keys = require("edge.keys")
local new_tab = require("table.new")
local store = require("edge.store")

local sub, byte = string.sub, string.byte
local type = type

local KEPT = 20000
local RECORDS = keys.shared("records")

-- Why an item is in an answer; `assemble` gives these codes.
local REASONS = { "top", "new", "evergreen", "default", "default", "fresh" }
local SLOTS = 8        -- cache keys of one item: number * SLOTS + code

local _M = {}

local cache = caches.new(KEPT)
local edition = 0

local prefixes = {}
for code, reason in ipairs(REASONS) do
    prefixes[code] = ',{"reason":"' .. reason .. '",'
end

-- The item was changed: what is cached of it is not served again.
function _M.forget(n)
    edition = edition + 1
    for code = 1, #REASONS do
        cache:delete(n * SLOTS + code)
    end
end

-- All items may have changed.
function _M.forget_all()
    edition = edition + 1
    cache:flush_all()
end

local function fetch(numbers, codes, missing, texts)
    local command = new_tab(#missing + 2, 0)
    command[1], command[2] = "HMGET", RECORDS
    for i = 1, #missing do
        command[i + 2] = numbers[missing[i]]
    end
    local asked = edition
    local replies, err = store.exec({ command })
    if not replies then
        return nil, err
    end
    for i = 1, #missing do
        local at, record = missing[i], replies[1][i]
        if type(record) == "string" and byte(record) == 123 then
            local text = prefixes[codes[at]] .. sub(record, 2)
            texts[at] = text
            if asked == edition then
                cache:set(numbers[at] * SLOTS + codes[at], text)
            end
        end
    end
    return true
end

-- The texts of `size` items, false where the record is gone; nil and why when Redis fails.
-- Yields when a text is not cached: `numbers` and `codes` must not be shared with other requests.
function _M.each(numbers, codes, size)
    local texts = new_tab(size, 0)
    local missing
    for i = 1, size do
        local text = cache:get(numbers[i] * SLOTS + codes[i])
        texts[i] = text or false
        if not text then
            missing = missing or {}
            missing[#missing + 1] = i
        end
    end
    if missing then
        local ok, err = fetch(numbers, codes, missing, texts)
        if not ok then
            return nil, err
        end
    end
    return texts
end

return _M
