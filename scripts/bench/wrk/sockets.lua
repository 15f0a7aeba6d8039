-- Connections to 127.0.0.1 that never block, and waiting for any of them with a precision of microseconds (Linux).

local ffi = require("ffi")

ffi.cdef [[
typedef struct { uint16_t family; uint16_t port; uint8_t address[4]; uint8_t zero[8]; } bench_address;
typedef struct { long sec; long nsec; } bench_wait;
int socket(int domain, int type, int protocol);
int bind(int fd, const bench_address *address, unsigned int length);
int connect(int fd, const bench_address *address, unsigned int length);
int setsockopt(int fd, int level, int name, const void *value, unsigned int length);
int fcntl(int fd, int command, ...);
int close(int fd);
long send(int fd, const char *text, size_t length, int flags);
long recv(int fd, char *buffer, size_t length, int flags);
int epoll_create1(int flags);
int epoll_ctl(int epoll, int operation, int fd, void *event);
int epoll_pwait2(int epoll, void *events, int count, const bench_wait *wait, const void *signals);
int setpriority(int which, unsigned int who, int priority);
int getpriority(int which, unsigned int who);
int prctl(int option, unsigned long value, unsigned long b, unsigned long c, unsigned long d);
]]
-- As the kernel has it: packed on x86-64, and only there.
ffi.cdef("typedef struct { uint32_t events; " .. (ffi.arch == "x64" and "" or "uint32_t gap; ")
    .. "int32_t fd; uint32_t unused; } bench_event;")

local C = ffi.C
local STREAM, TCP, NODELAY, SET_FLAGS, NONBLOCK, NO_SIGNAL = 1, 6, 1, 4, 2048, 0x4000
local INET, ADD, READABLE, TIMER_SLACK = 2, 1, 1, 29
local IP, LATE_PORT = 0, 24       -- a port is chosen when it is known where to, so that all can be used
local AGAIN, ADDRESS = 11, 16
local EVENTS, BUFFER = 64, 65536

local one, buffer, wait = ffi.new("int[1]", 1), ffi.new("char[?]", BUFFER), ffi.new("bench_wait")
local events = ffi.new("bench_event[?]", EVENTS)

local _M = {}

local function address_of(last, port)
    local address = ffi.new("bench_address", { family = INET, address = { 127, 0, 0, last } })
    address.port = bit.bor(bit.lshift(bit.band(port, 255), 8), bit.rshift(port, 8))
    return address
end

-- A connected socket that `epoll` watches, from 127.0.0.<source> if that is given; nil and why not when there can be
-- no more. Connecting on this host takes microseconds, so it may block.
function _M.open(epoll, port, source)
    local fd = C.socket(INET, STREAM, 0)
    if fd < 0 then
        return nil, "failed to make a socket: error " .. ffi.errno()
    end
    if source then
        C.setsockopt(fd, IP, LATE_PORT, one, 4)
        C.bind(fd, address_of(source, 0), ADDRESS)
    end
    if C.connect(fd, address_of(1, port), ADDRESS) ~= 0 then
        local err = ffi.errno()
        C.close(fd)
        return nil, "failed to connect to port " .. port .. ": error " .. err
    end
    C.setsockopt(fd, TCP, NODELAY, one, 4)
    C.fcntl(fd, SET_FLAGS, ffi.cast("int", NONBLOCK))
    C.epoll_ctl(epoll, ADD, fd, ffi.new("bench_event", { events = READABLE, fd = fd }))
    return fd
end

function _M.close(fd)
    C.close(fd)
end

-- Whether the whole text went into the kernel's buffer; a request is far smaller than that.
function _M.send(fd, text)
    return tonumber(C.send(fd, text, #text, NO_SIGNAL)) == #text
end

-- What has arrived, at most 64 KiB; "" when nothing is there yet, nil when the connection ended.
function _M.receive(fd)
    local length = tonumber(C.recv(fd, buffer, BUFFER, 0))
    if length > 0 then
        return ffi.string(buffer, length)
    end
    return length < 0 and ffi.errno() == AGAIN and "" or nil
end

function _M.epoll()
    return C.epoll_create1(0)
end

-- Sockets with news, into `ready`, after `seconds` at most; returns how many.
function _M.wait(epoll, seconds, ready)
    wait.sec, wait.nsec = math.floor(seconds), (seconds % 1) * 1e9
    local count = C.epoll_pwait2(epoll, events, EVENTS, wait, nil)
    for i = 1, count do
        ready[i] = events[i - 1].fd
    end
    return count
end

-- Wakes without slack, and ahead of others where the kernel lets it. Returns the priority it has got.
function _M.hurry(priority)
    C.prctl(TIMER_SLACK, 1, 0, 0, 0)
    C.setpriority(0, 0, priority)
    return C.getpriority(0, 0)
end

return _M
