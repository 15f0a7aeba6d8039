-- The settings that the stack rendered to RUN/config.json, the token keys, and the keyspace definition.
--
-- Loaded once in init_by_lua, before the workers fork. Python has checked the values of the settings; here it is
-- checked that what the edge relies on is there. Reading a name that does not exist is a mistake and throws.

local cjson = require("cjson.safe")

local _M = {}

-- What the edge uses; the file holds the worker's settings, too.
local REQUIRED = {
    allowed_origins = "string", bots = "string", cookie_days = "number", cookie_name = "string",
    cookie_partitioned = "boolean", cookie_same_site = "string", cookie_secure = "boolean",
    counted_per_network = "number", dwell_cap_anonymous_s = "number", dwell_cap_s = "number", fresh_days = "number",
    fresh_every = "number", gap = "number", keyspace = "string", new_users_per_hour = "number",
    opt_out_cookie = "string", rate_limit = "string", trusted_proxies = "string", user_events_per_hour = "number",
    redis_password = "string", redis_socket = "string", redis_timeout_ms = "number", redis_user = "string",
    repeats = "boolean", root = "string", run = "string", secrets = "string", stale_hours = "number",
    window_days = "number",
}

local current

local function read_json(path)
    local file, err = io.open(path, "rb")
    if not file then
        error("failed to open " .. path .. ": " .. err .. ": start the stack with make up", 0)
    end
    local value, problem = cjson.decode(file:read("*a"))
    file:close()
    if type(value) ~= "table" then
        error(path .. " is not a JSON object: " .. tostring(problem), 0)
    end
    return value
end

local function check_names(settings, path)
    for name, kind in pairs(REQUIRED) do
        if type(settings[name]) ~= kind then
            error(path .. ": " .. name .. " must be a " .. kind .. ", not " .. type(settings[name]), 0)
        end
    end
end

local function from_hex(text, path)
    if type(text) ~= "string" or #text < 32 or #text % 2 == 1 or text:find("[^%x]") then
        error(path .. ": a key must be an even number of hexadecimal digits, at least 32", 0)
    end
    return (text:gsub("%x%x", function(pair)
        return string.char(tonumber(pair, 16))
    end))
end

-- { current = id, keys = { id = binary } }
local function read_keyring(path)
    local file = read_json(path)
    local keys = {}
    for id, text in pairs(file.keys or {}) do
        keys[id] = from_hex(text, path)
    end
    if not keys[file.current or ""] then
        error(path .. ": current names no key", 0)
    end
    return { current = file.current, keys = keys }
end

-- The key under which erased people are remembered: the first, which is the stack's own.
local function read_erasure_key(path)
    local keys = read_json(path).keys
    from_hex(keys and keys[1], path)
    return keys[1]
end

local function unknown_name(_, name)
    error("there is no setting " .. tostring(name), 2)
end

function _M.load(path)
    local settings = read_json(path)
    check_names(settings, path)
    settings.tokens = read_keyring(settings.secrets .. "/tokens.json")
    settings.erasure_key = read_erasure_key(settings.secrets .. "/erasures.json")
    settings.definition = read_json(settings.keyspace)
    current = setmetatable(settings, { __index = unknown_name })
    return current
end

-- Every setting by name, and: tokens (the keyring), erasure_key, definition (keyspace.json), run, root,
-- redis_* and so on.
function _M.get()
    if not current then
        error("edge.config is read before edge.init has loaded it", 2)
    end
    return current
end

return _M
