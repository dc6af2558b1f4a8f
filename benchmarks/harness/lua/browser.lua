-- What Firefox sends when a link is followed: its header fields in its order, Host among them, with path, query and cookie
-- different in each of 8192 requests made beforehand. Put together here because wrk.format sends fields in an order of chance.
require("report")

local prepared, count, next_one = {}, 8192, 0

function init(args)
  local template = table.concat({
    "GET /items/%d/parts/%x?page=%d&sort=name&q=%x HTTP/1.1",
    "Host: " .. wrk.headers["Host"],
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language: en-GB,en;q=0.8,de;q=0.5,fr;q=0.3",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Referer: https://www.example.org/search?q=three+cornered+hats",
    "Cookie: session=%08x%08x; theme=dark; seen=%d",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: same-origin",
    "", "",
  }, "\r\n")
  for i = 1, count do
    prepared[i] = template:format(i, i * 7919, i % 97, i * 104729, i * 2654435761 % 4294967296, i * 40503, i)
  end
end

function request()
  next_one = next_one % count + 1
  return prepared[next_one]
end
