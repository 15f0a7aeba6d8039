-- Answers of HTTP/1.1 as they arrive in pieces; as much of that as the edge's answers need.

local _M = {}

-- An answer's head: its status, how much of its body is still to come, and whether the connection ends with it.
local function head_of(text)
    local _, last = text:find("\r\n\r\n", 1, true)
    if not last then
        return nil
    end
    local head = text:sub(1, last):lower()
    local status = tonumber(head:sub(10, 12))
    local length = status == 204 and 0 or tonumber(head:match("\r\ncontent%-length: *(%d+)"))
    if not length then
        error("an answer without Content-Length: " .. head, 0)
    end
    return { status = status, left = last + length - #text, closing = head:find("\r\nconnection: close", 1, true) }
end

-- Adds a piece to an answer, which is a table of its own for each; returns its head once that is known.
function _M.add(answer, text)
    if answer.head then
        answer.head.left = answer.head.left - #text
    else
        answer.text = (answer.text or "") .. text
        answer.head = head_of(answer.text)
    end
    return answer.head
end

return _M
