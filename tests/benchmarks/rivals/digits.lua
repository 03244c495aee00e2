-- Digits for wrk: `wrk … -s digits.lua URL -- fresh` asks about one that nobody has asked about each time,
-- `… -- same` always about the same.
local fresh = true

local function pixels()
  local numbers = {}
  for place = 1, 64 do
    numbers[place] = fresh and math.random(0, 16) or place % 17
  end
  return '{"pixels": [' .. table.concat(numbers, ",") .. "]}"
end

function init(arguments)
  fresh = arguments[1] ~= "same"
  math.randomseed(os.time() + os.clock() * 1e6)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.body = pixels()
end

function request()
  return wrk.format(nil, nil, nil, fresh and pixels() or nil)
end
