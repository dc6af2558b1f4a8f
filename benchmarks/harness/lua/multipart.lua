require("report")
-- A form with a field and a file of 64 KiB, as a browser sends it.
local boundary = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
wrk.method = "POST"
wrk.headers["Content-Type"] = "multipart/form-data; boundary=" .. boundary
wrk.body = table.concat({
  "--" .. boundary,
  'Content-Disposition: form-data; name="title"',
  "",
  "three cornered hats",
  "--" .. boundary,
  'Content-Disposition: form-data; name="file"; filename="hats.bin"',
  "Content-Type: application/octet-stream",
  "",
  string.rep("p", 65536),
  "--" .. boundary .. "--",
  "",
}, "\r\n")
