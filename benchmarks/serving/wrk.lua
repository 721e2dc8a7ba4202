-- Sends the request bodies of a file, one a line, in turn; writes one line of JSON at the end.
-- wrk … -s wrk.lua URL -- FILE [NAME VALUE]…     NAME and VALUE: a header more
local requests, sent = {}, 0

function init(args)
  local headers = { ["content-type"] = "application/json" }
  for i = 2, #args - 1, 2 do headers[args[i]] = args[i + 1] end
  for line in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format("POST", nil, headers, line)
  end
end

function request()
  sent = sent % #requests + 1
  return requests[sent]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%.6f,"bytes":%d,"p50_ms":%.3f,"p99_ms":%.3f,"refused":%d,"broken":%d}\n',
    summary.requests, summary.duration / 1e6, summary.bytes,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
