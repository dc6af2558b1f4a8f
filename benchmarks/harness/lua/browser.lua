-- A browser's ten headers (Host is the tenth), with path, query and cookie different in each of 8192 requests made beforehand.
require("report")
wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
wrk.headers["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
wrk.headers["Accept-Language"] = "en-GB,en;q=0.8,de;q=0.5,fr;q=0.3"
wrk.headers["Accept-Encoding"] = "gzip, deflate, br, zstd"
wrk.headers["Referer"] = "https://www.example.org/search?q=three+cornered+hats"
wrk.headers["Sec-Fetch-Dest"] = "document"
wrk.headers["Sec-Fetch-Mode"] = "navigate"
wrk.headers["Sec-Fetch-Site"] = "same-origin"

local prepared, count, next_one = {}, 8192, 0

function init(args)
  for i = 1, count do
    wrk.headers["Cookie"] = string.format("session=%08x%08x; theme=dark; seen=%d", i * 2654435761 % 4294967296, i * 40503, i)
    prepared[i] = wrk.format("GET", string.format("/items/%d/parts/%x?page=%d&sort=name&q=%x", i, i * 7919, i % 97, i * 104729))
  end
end

function request()
  next_one = next_one % count + 1
  return prepared[next_one]
end
