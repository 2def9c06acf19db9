-- Sends the requests of the file BENCH_REQUESTS in turn, if it is set: a line
-- each, a path and after a tab the credential's field, if any. Every thread starts
-- at a place of its own. At the end: the figures as JSON.
local file = os.getenv("BENCH_REQUESTS")
local threads = 0
function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

if file then
  local requests, at = {}, 0
  function init(args)
    for line in io.lines(file) do
      local path, field = line:match("^([^\t]*)\t(.*)$")
      local name, value = field:match("^([^:]*): (.*)$")
      if name then wrk.headers[name] = value end
      requests[#requests + 1] = wrk.format(nil, path)
    end
    at = math.floor(#requests / 2) * number
  end
  function request()
    at = at % #requests + 1
    return requests[at]
  end
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\n@{"requests":%d,"micros":%d,"bytes":%d,"statusErrors":%d,"socketErrors":%d,"p50":%d,"p99":%d}\n',
    summary.requests, summary.duration, summary.bytes, e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
