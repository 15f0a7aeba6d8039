-- JSON that came from outside, decoded.
--
-- For the decoder a zero byte is the end of the text, whatever stands behind it; JSON has none, neither between values
-- nor in strings (RFC 8259).

local cjson = require("cjson.safe").new()

local find = string.find

-- The decoder's own notions of numbers and depth are too wide.
cjson.decode_invalid_numbers(false)
cjson.decode_max_depth(10)

local _M = {}

-- The value of a text; nil and what is wrong with it.
function _M.decode(text)
    if find(text, "\0", 1, true) then
        return nil, "it has a zero byte"
    end
    return cjson.decode(text)
end

return _M
