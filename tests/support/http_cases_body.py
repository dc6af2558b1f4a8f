"""Rows: chunks, their extensions and ends, trailers, Expect."""

from __future__ import annotations

from support.http_cases import answered, chunked, post, refused, request, waits

END = b"0\r\n\r\n"

BAD_SIZES = {
    "underscore": b"1_0",
    "plus sign": b"+5",
    "minus sign": b"-5",
    "prefix": b"0x5",
    "space before": b" 5",
    "tab before": b"\t5",
    "space behind": b"5 ",
    "tab behind": b"5\t",
    "empty": b"",
    "only an extension": b";a=b",
    "space and an extension": b" ;a=b",
    "letter": b"g",
    "letter behind": b"5g",
    "two numbers": b"5 5",
    "comma": b"5,5",
    "point": b"5.0",
    "quotes": b'"5"',
    "NUL": b"5\0",
    "digit above ASCII": b"\xb9",
    "overflow of 64 bits": b"10000000000000005",
    "very long": b"0" * 400 + b"5",
    "semicolon alone": b"5;",
    "semicolon and space": b"5; ",
    "extension of a bad name": b"5;bad[=x",
    "extension without a name": b"5;=x",
    "extension without a value": b"5;a=",
    "open quotes": b'5;a="b',
    "text behind quotes": b'5;a="b"c',
    "NUL in an extension": b"5;\0ext",
    "control in an extension": b"5;a=\x01",
    "carriage return in an extension": b"5;a\rX",
    "carriage return in quotes": b'5;a="\r"',
    "line feed in an extension": b"5;a\nX",
    "two semicolons": b"5;;a",
}
BAD_CHUNKS = {
    "line feed for the end of the size": b"5\nhello\r\n0\r\n\r\n",
    "carriage return for the end of the size": b"5\rhello\r\n0\r\n\r\n",
    "two carriage returns": b"5\r\r\nhello\r\n0\r\n\r\n",
    "semicolon and line feed": b"5;\nhello\r\n0\r\n\r\n",
    "line feed and semicolon": b"5\n;\r\nhello\r\n0\r\n\r\n",
    "line feed behind the data": b"5\r\nhello\n0\r\n\r\n",
    "carriage return behind the data": b"5\r\nhello\r0\r\n\r\n",
    "nothing behind the data": b"5\r\nhello0\r\n\r\n",
    "more data than the size": b"5\r\nhello!!\r\n0\r\n\r\n",
    "less data than the size": b"5\r\nhell\r\n0\r\n\r\n",
    "empty line before the size": b"\r\n5\r\nhello\r\n0\r\n\r\n",
    "empty line between chunks": b"5\r\nhello\r\n\r\n0\r\n\r\n",
    "last chunk signed": b"5\r\nhello\r\n+0\r\n\r\n",
    "last chunk with space behind": b"5\r\nhello\r\n0 \r\n\r\n",
    "last chunk with space before": b"5\r\nhello\r\n 0\r\n\r\n",
    "line feed behind the last chunk": b"5\r\nhello\r\n0\n\r\n",
    "line feed for the last line": b"5\r\nhello\r\n0\r\n\n",
    "carriage return for the last line": b"5\r\nhello\r\n0\r\n\rX",
    "no chunks at all": b"hello",
    "text for a size": b"hello\r\n",
    "request behind half of the end": b"0\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
}
CHUNKS = [
    answered("one", "7.1", chunked(b"5\r\nhello\r\n" + END), "POST / hello"),
    answered("two", "7.1", chunked(b"5\r\nhello\r\n6\r\n world\r\n" + END), "POST / hello world"),
    answered("none", "7.1", chunked(END), "POST /"),
    answered("size in upper case", "7.1", chunked(b"A\r\nhelloworld\r\n" + END), "POST / helloworld"),
    answered("size in lower case", "7.1", chunked(b"a\r\nhelloworld\r\n" + END), "POST / helloworld"),
    answered("zeros before the size", "7.1: 1*HEXDIG", chunked(b"0005\r\nhello\r\n000\r\n\r\n"), "POST / hello"),
    answered("CRLF in the data", "7.1", chunked(b"4\r\n\r\n\r\n\r\n" + END), "POST / \r\n\r\n".rstrip()),
    answered("data like a chunk", "7.1", chunked(b"5\r\n0\r\n\r\n\r\n" + END), "POST / 0"),
    answered("extension", "7.1.1", chunked(b"5;a=b\r\nhello\r\n" + END), "POST / hello"),
    answered("extension without value", "7.1.1", chunked(b"5;a\r\nhello\r\n" + END), "POST / hello"),
    answered("extension in quotes", "7.1.1", chunked(b'5;a="b;\\"c"\r\nhello\r\n' + END), "POST / hello"),
    answered("three extensions", "7.1.1", chunked(b'5;a=b;c;d="e"\r\nhello\r\n' + END), "POST / hello"),
    answered("spaces around an extension", "7.1.1: BWS", chunked(b"5 ; a = b\r\nhello\r\n" + END), "POST / hello"),
    answered("extension of the last chunk", "7.1.1", chunked(b"5\r\nhello\r\n0;a=b\r\n\r\n"), "POST / hello"),
    answered("Range is ignored", "RFC 9110 14.2", chunked(b"5\r\nhello\r\n" + END, "Range: bytes=0-1"), "POST / hello"),
    waits("no chunk yet", "7.1", chunked(b"")),
    waits("part of a size", "7.1", chunked(b"1")),
    waits("part of the data", "7.1", chunked(b"5\r\nhel")),
    waits("no last chunk", "7.1", chunked(b"5\r\nhello\r\n")),
    waits("half of the last line", "7.1", chunked(b"5\r\nhello\r\n0\r\n")),
    waits("body shorter than its Content-Length", "6.2", post("Content-Length: 99", body=b"hello")),
    *(refused(f"size: {name}", "7.1", chunked(size + b"\r\nhello\r\n" + END)) for name, size in BAD_SIZES.items()),
    *(refused(f"chunk: {name}", "7.1", chunked(body)) for name, body in BAD_CHUNKS.items()),
]

FORBIDDEN = (
    "Content-Length: 5",
    "Transfer-Encoding: chunked",
    "Host: evil.example",
    "Authorization: Basic eDp5",
    "Content-Type: text/html",
    "Content-Encoding: gzip",
    "Connection: close",
    "Trailer: X",
    "Cookie: a=b",
)


def _trailer(line: str) -> bytes:
    return chunked(b"5\r\nhello\r\n0\r\n" + line.encode("latin-1") + b"\r\n\r\n")


TRAILERS = [
    answered("one", "7.1.2", _trailer("X-Checksum: abc"), "POST / hello"),
    answered("two", "7.1.2", _trailer("X: a\r\nY: b"), "POST / hello"),
    answered("empty value", "7.1.2", _trailer("X:"), "POST / hello"),
    answered("announced", "RFC 9110 6.6.2", chunked(b"0\r\nX: a\r\n\r\n", "Trailer: X"), "POST /"),
    *(refused(f"forbidden: {line}", "RFC 9110 6.5.1", _trailer(line)) for line in FORBIDDEN),
    refused("forbidden, in upper case", "RFC 9110 6.5.1", _trailer("CONTENT-LENGTH: 5")),
    refused("no colon", "7.1.2", _trailer("X")),
    refused("space before the colon", "5.1", _trailer("X : a")),
    refused("empty name", "5", _trailer(": a")),
    refused("folded", "5.2", _trailer("X: a\r\n b")),
    refused("folded at once", "5.2", _trailer(" X: a")),
    refused("control in the value", "RFC 9110 5.5", _trailer("X: a\x01")),
    refused("NUL in the name", "RFC 9110 5.6.2", _trailer("X\0: a")),
    refused("line feed for the end", "2.2", chunked(b"0\r\nX: a\n\r\n")),
    refused("carriage return in the value", "2.2", _trailer("X: a\rb")),
    refused("too large together", "RFC 6585 5", _trailer("\r\n".join(f"X-{n}: {'a' * 90}" for n in range(100))), 431),
    refused("one too large", "RFC 6585 5", _trailer("X: " + "a" * 9000), 431),
    refused("extension too large", "7.1.1", chunked(b"5;a=" + b"b" * 9000 + b"\r\nhello\r\n" + END)),
    refused("extensions that outweigh the body", "7.1.1", chunked((b"1;" + b"a" * 6000 + b"\r\nh\r\n") * 3 + END)),
    answered(
        "extensions as proxies sign chunks",
        "7.1.1",
        chunked((b"1;s=" + b"0" * 64 + b"\r\nh\r\n") * 9 + END),
        "POST / " + "h" * 9,
    ),
]

CONTINUE = "Expect: 100-continue"
EXPECT = [
    answered("without a body", "RFC 9110 10.1.1", request(CONTINUE), "GET /"),
    answered("with a body of no bytes", "RFC 9110 10.1.1", post(CONTINUE, "Content-Length: 0"), "POST /"),
    answered("in 1.0 is ignored", "RFC 9110 10.1.1", request(CONTINUE, start="GET / HTTP/1.0"), "GET /", closed=True),
    answered(
        "in 1.0 with a body is ignored",
        "RFC 9110 15.2",
        post(CONTINUE, "Content-Length: 5", start="POST / HTTP/1.0", body=b"hello"),
        "POST / hello",
        closed=True,
    ),
    answered(
        "unknown in 1.0 is ignored", "RFC 9110 10.1.1", request("Expect: x", start="GET / HTTP/1.0"), "GET /", closed=True
    ),
    answered("in upper case", "RFC 9110 10.1.1", request("EXPECT: 100-CONTINUE"), "GET /"),
    answered("twice", "RFC 9110 10.1.1", request(CONTINUE, CONTINUE), "GET /"),
    waits("then waiting", "RFC 9110 10.1.1", post(CONTINUE, "Content-Length: 5"), statuses=(100,)),
    refused("unknown", "RFC 9110 10.1.1", request("Expect: 200-ok"), 417),
    refused("unknown beside", "RFC 9110 10.1.1", request("Expect: 100-continue, x"), 417),
    refused("unknown in another line", "RFC 9110 10.1.1", request("Expect: x", CONTINUE), 417),
    refused("with a parameter", "RFC 9110 10.1.1", request("Expect: 100-continue;a=b"), 417),
]

ROWS = [*CHUNKS, *TRAILERS, *EXPECT]
