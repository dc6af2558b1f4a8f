require("report")
-- Requests at a constant rate, the first argument, in requests/s: each becomes due so long after the one before, whichever
-- connection is free then sends it. wrk's timers count whole milliseconds. One that is late because all connections wait is sent
-- as soon as one is free; wrk itself adds the latencies that the requests behind a slow one would have had.
local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } clock_time;
  int clock_gettime(int clock, clock_time *now);
]]
local MONOTONIC = 1
local time, due, pause = ffi.new("clock_time"), nil, nil

local function now()
  ffi.C.clock_gettime(MONOTONIC, time)
  return tonumber(time.seconds) * 1e3 + tonumber(time.nanoseconds) / 1e6
end

function init(args)
  pause = 1e3 / tonumber(args[1])
end

function delay()
  local at = now()
  due = (due or at) + pause
  return math.max(0, math.floor(due - at + 0.5))
end
