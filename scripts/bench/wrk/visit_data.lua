-- The requests of visits.lua and open_loop.lua: users, the new items each of them has left, and ready-made texts.

local ffi = require("ffi")
local random = math.random

local HEADERS = "Host: bench\r\n"
local BROWSER = HEADERS
    .. "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0\r\n"
    .. "Accept: */*\r\nAccept-Language: en-US,en;q=0.9\r\nAccept-Encoding: gzip, deflate, br\r\n"
    .. "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n"
    .. "Origin: http://bench\r\nReferer: http://bench/\r\n"
local WORD = 4
local LONGEST = 65536         -- bytes of a request

local _M = {}
_M.__index = _M

local function parse(arguments)
    local options = {}
    for _, argument in ipairs(arguments) do
        local name, value = argument:match("^(%w+)=(.*)$")
        if not name then
            error("an option must be name=value, not " .. argument, 0)
        end
        options[name] = tonumber(value) or value
    end
    return options
end

-- This thread's users: as many as the others have, and the rest of them for the last. used[u]: new items user u had.
local function share(self, index)
    local file = assert(io.open(self.next, "rb"))
    local users = file:seek("end") / WORD
    local each = math.floor(users / self.threads)
    self.from = index * each
    self.count = index == self.threads - 1 and users - self.from or each
    file:seek("set", self.from * WORD)
    self.used = ffi.new("uint32_t[?]", self.count + 1)
    ffi.copy(self.used + 1, file:read(self.count * WORD), self.count * WORD)
    file:close()
end

-- Tokens stay in one piece of memory: a hundred thousand strings would cost LuaJIT, and so the rate of all loads, as
-- much as sending does. Of user u, the token is the bytes from places[u] to before places[u + 1] - 1.
local function read_tokens(self)
    local file = assert(io.open(self.users, "rb"))
    local at = 0
    for _ = 1, self.from do
        at = at + #file:read("*L")
    end
    file:seek("set", at)
    self.places, at = ffi.new("uint32_t[?]", self.count + 2), 0
    local lines = {}
    for user = 1, self.count do
        lines[user] = file:read("*L")
        self.places[user], at = at, at + #lines[user]
    end
    self.places[self.count + 1] = at
    self.tokens = ffi.new("uint8_t[?]", at)
    ffi.copy(self.tokens, table.concat(lines), at)
    file:close()
end

-- Where requests of a kind are put together, of which only the whole becomes a string: `head` stays at its beginning.
local function new_room(head)
    local room = { memory = ffi.new("uint8_t[?]", LONGEST), head = #head }
    ffi.copy(room.memory, head, #head)
    return room
end

-- The request of a kind for a user, that ends with `tail`.
local function compose(self, room, user, tail)
    local from = self.places[user]
    local length = self.places[user + 1] - from - 1
    if room.head + length + #tail > LONGEST then
        error("a request is longer than " .. LONGEST .. " bytes", 0)
    end
    local memory = room.memory + room.head
    ffi.copy(memory, self.tokens + from, length)
    ffi.copy(memory + length, tail, #tail)
    return ffi.string(room.memory, room.head + length + #tail)
end

-- `index` is that of the thread, or an option.
function _M.open(arguments, index)
    local self = setmetatable(parse(arguments), _M)
    index = index or self.index or 0
    share(self, index)
    read_tokens(self)
    local headers = self.full == 1 and BROWSER or HEADERS
    local bearer = headers .. "Authorization: Bearer "
    self.post = new_room("POST /beacon HTTP/1.1\r\nContent-Type: text/plain;charset=UTF-8\r\n" .. bearer)
    self.get = new_room("GET " .. self.path .. " HTTP/1.1\r\n" .. bearer)
    self.bodies = {}
    math.randomseed(self.ts % 2147483647 + index)
    return self
end

-- What follows the token in a beacon whose first item is the new one at `start` (0…), made once for each.
local function body(self, start)
    local events = {}
    for i = 1, self.events do
        events[i] = ('{"event":"impression","item":"item-%d","ts":%.0f,"position":%d,"list":17}')
            :format(self.first + start + i - 1, self.ts + i, i)
    end
    local text = '{"events":[' .. table.concat(events, ",") .. "]}"
    self.bodies[start] = ("\r\nContent-Length: %d\r\n\r\n%s"):format(#text, text)
    return self.bodies[start]
end

-- A beacon of a random user who has enough new items left, or of the next one who has; nil when nobody has.
function _M:beacon()
    local user, used, last = random(self.count), self.used, self.items - self.events
    local tried = 0
    while used[user] > last do
        user, tried = user % self.count + 1, tried + 1
        if tried > self.count then
            return nil
        end
    end
    local start = used[user]
    used[user] = start + self.events
    return compose(self, self.post, user, self.bodies[start] or body(self, start))
end

-- A random user's page.
function _M:page()
    return compose(self, self.get, random(self.count), "\r\n\r\n")
end

-- Writes down which items were used.
function _M:close()
    local file = assert(io.open(self.next, "r+b"))
    file:seek("set", self.from * WORD)
    file:write(ffi.string(self.used + 1, self.count * WORD))
    file:close()
end

return _M
