"""Reads strings in HPACK's Huffman code (RFC 7541 section 5.2 and appendix B).

What the server sends is never in that code: the heads of responses are cached whole, and to encode what differs from response
to response would cost more processor time than its quarter of the bytes is worth.
"""

from __future__ import annotations

_LENGTHS = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c060a0a0c0d06080b0a0a080b08060606050505060606060606060708"
    "0f060c0a0d06070707070707070707070707070707070707070707070807080d130d0e060f0506050605060606050707060606050607060505060707"
    "0707070f0b0e0d1c14161414161616171617171717171817181816171817171717151617161717181615141616171715171616181516171715151615"
    "1716171714161616171616171a1a1413161716191a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b14181415161515171616191918181a17"
    "1a1b1a1a1b1b1b1b1b1c1b1b1b1b1b1a1e"
)
"""Bits of each byte's code; the last is that of EOS. The code is canonical: sorted by length, then by byte, its codes are
consecutive numbers. So the lengths are all that has to be known."""
_EOS = 256
_MAX_STEPS = 8192
"""Steps remembered, about a megabyte. Text in ASCII needs some 2000; a client that fills it only slows its own heads."""

_Node = list["int | _Node"]
"""A node of the code's tree: for each bit the next node, or the byte whose code ends there."""


def _grow() -> tuple[_Node, dict[int, _Node], frozenset[int]]:
    """The tree of the code: its root, all nodes by number, and the numbers of those where a string may end.

    A string ends between two codes, or in less than a byte of padding, which is the beginning of EOS (all ones).
    """
    root: _Node = [0, 0]
    code = length = 0
    for symbol in sorted(range(len(_LENGTHS)), key=lambda symbol: (_LENGTHS[symbol], symbol)):
        code <<= _LENGTHS[symbol] - length
        length = _LENGTHS[symbol]
        node = root
        for place in range(length - 1, 0, -1):
            bit = code >> place & 1
            after = node[bit]
            if isinstance(after, int):
                node[bit] = after = [0, 0]
            node = after
        node[code & 1] = symbol
        code += 1
    nodes, ends = [root], {0}
    for node in nodes:
        nodes += [after for after in node if not isinstance(after, int)]
    numbers = {id(node): number for number, node in enumerate(nodes)}
    padding: int | _Node = root
    for _ in range(7):
        assert not isinstance(padding, int)
        padding = padding[1]
        ends.add(numbers[id(padding)])
    return root, dict(enumerate(nodes)), frozenset(ends)


_ROOT, _NODES, _ENDS = _grow()
_NUMBERS = {id(node): number for number, node in _NODES.items()}
_steps: dict[int, tuple[int, bytes]] = {}
"""By 256 times a node's number plus the byte that comes next: 256 times the next node's number, and the bytes whose codes end
in that byte. Filled as needed, because all 65,536 would take too long to make."""


def decode(data: bytes) -> bytes:
    """The string that ``data`` encodes. Raises ValueError if it is malformed."""
    at = 0
    parts: list[bytes] = []
    for byte in data:
        found = _steps.get(at + byte)
        if found is None:
            found = _step(at >> 8, byte)
            if len(_steps) < _MAX_STEPS:
                _steps[at + byte] = found
        at, part = found
        if part:
            parts.append(part)
    if at >> 8 not in _ENDS:
        raise ValueError("padding of a Huffman string is no beginning of EOS, or longer than 7 bits")
    return b"".join(parts)


def _step(number: int, byte: int) -> tuple[int, bytes]:
    node = _NODES[number]
    found = bytearray()
    for place in range(7, -1, -1):
        after = node[byte >> place & 1]
        if not isinstance(after, int):
            node = after
            continue
        if after == _EOS:
            raise ValueError("EOS in a Huffman string")
        found.append(after)
        node = _ROOT
    return _NUMBERS[id(node)] << 8, bytes(found)
