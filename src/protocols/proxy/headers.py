"""The client behind a proxy: X-Forwarded-For, X-Forwarded-Proto and Forwarded (RFC 7239), read from trusted peers only.

No I/O. Each proxy appends to these headers, so the nearest proxy wrote what stands at the right, and what the client may have
made up stands at the left. They are read from the right, past every trusted proxy, to the first other address."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from ...config.frozen import Value
from ..asgi import Fields, Scope

if TYPE_CHECKING:
    import ipaddress

logger = logging.getLogger("tricorn.error")

Address = tuple[str, int]
"""Host and port as in a scope's ``client``; port 0 where none was told."""

FIELDS = frozenset((b"forwarded", b"x-forwarded-for", b"x-forwarded-proto"))
SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
"""What X-Forwarded-Proto may say, and the scheme of the HTTP scope that it means; a WebSocket's is made from that."""
MAX_STEPS = 64
"""Elements, and commas that may be part of a quoted string, after which a header is not read further."""
MAX_NAMED = 20
"""Untrusted peers that are logged: more than an operator has proxies, but bounded, because any client can cause these lines."""
MAX_CACHED = 256
"""Bytes of a header whose result is remembered."""
MAX_NODE = 253
"""Characters that a host name can have."""
MAPPED = bytes(10) + b"\xff\xff"
"""How an IPv6 address begins that stands for an IPv4 address (RFC 4291 section 2.5.5.2)."""

# Compiled when they are used, because most servers never use them; re keeps what it has compiled.
_LOOKS_NUMERIC = r"[0-9.]+(?:/.*)?|(?!unix:)[^/@_]*:.*"
_V4 = r"([0-9.]+)(?::([0-9]{1,5}))?"
_V6 = r"\[([0-9A-Fa-f:.]+)\](?::([0-9]{1,5}|_[\w.-]+))?"
_NAMELESS = r"(?ai)(unknown|_[\w.-]+)(?::(?:[0-9]{1,5}|_[\w.-]+))?"
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PAIR = rf'({_TOKEN})=({_TOKEN}|"(?:[^"\\]|\\.)*")'
_PAIRS = rf"(?:{_PAIR})?(?:;(?:{_PAIR})?)*"


class Origin(Value):
    """What a proxy says of one connection, in the PROXY protocol."""

    client: Address | None
    """None for a UNIX socket's."""
    server: Address | None
    """Where the client has connected to."""
    secure: bool = False
    """The client speaks TLS with the proxy."""


class Trusted:
    """The trusted peers: those that ``--forwarded-allow-ips`` lists."""

    def __init__(self, text: str) -> None:
        """``text``: addresses, networks and literals, separated by commas; or ``*`` for all.

        A literal is ``unix:`` for every peer on a UNIX socket, that socket's path, or a proxy's name for what has no address.
        Raises ValueError naming an item that looks like an address or a network but is none.
        """
        items = {item.strip() for item in text.split(",")} - {""}
        self.everyone = "*" in items
        self._literals = {"unix:" if item == "unix" else item for item in items - {"*"}}
        self._addresses: set[str] = set()
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for item in sorted(self._literals):
            if re.fullmatch(_LOOKS_NUMERIC, item):
                self._literals.remove(item)
                self._add(item)
        # Bounded, with bounded keys, because the text comes from outside.
        self._cached = lru_cache(maxsize=4096)(self._lists)

    def _add(self, item: str) -> None:
        try:
            if "/" in item:
                import ipaddress

                self._networks.append(ipaddress.ip_network(item))
            else:
                self._addresses.add(_normal(item.strip("[]")))
        except ValueError as error:
            cause = str(error).removeprefix(f"{item!r} ").removeprefix(f"{item} ")
            raise ValueError(f"{item} {cause}") from None

    def __contains__(self, host: str) -> bool:
        """Whether the node ``host``, an address or what stands for one, is trusted."""
        return self.everyone or (len(host) <= MAX_NODE and self._cached(host))

    def trusts_unix(self, path: str) -> bool:
        """Whether the peers on the UNIX socket ``path`` are trusted."""
        return self.everyone or "unix:" in self._literals or (path != "" and path in self._literals)

    def _lists(self, host: str) -> bool:
        try:
            address = _normal(host)
        except ValueError:
            return host in self._literals
        return address in self._addresses or (self._networks != [] and self._is_in_network(address))

    def _is_in_network(self, address: str) -> bool:
        import ipaddress

        return any(ipaddress.ip_address(address) in network for network in self._networks)


def _normal(text: str) -> str:
    """An address in the one spelling that is compared. A mapped IPv4 address, as of a client of an IPv6 listener, becomes IPv4.

    Raises ValueError.
    """
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            packed = socket.inet_pton(family, text)
        except OSError:
            continue
        return socket.inet_ntop(socket.AF_INET, packed[12:]) if packed[:12] == MAPPED else socket.inet_ntop(family, packed)
    # Imported here: only an address with a scope gets here, or text that is no address.
    import ipaddress

    return ipaddress.ip_address(text).compressed


class Strangers:
    """Peers that ``proxies`` does not trust."""

    def __init__(self, proxies: Proxies) -> None:
        self._proxies = proxies

    def unveil(self, base: Scope, headers: Fields, name: str) -> tuple[Scope, str]:
        """``base`` and ``name`` as they are: what the headers of a stranger say is ignored, and that is logged."""
        self._proxies.ignore(base["client"])
        return base, name


class Proxies:
    """Puts the client and the scheme that trusted proxies report into a scope."""

    def __init__(self, trusted: Trusted) -> None:
        self.trusted = trusted
        # The same few clients come again and again.
        self._cached = lru_cache(maxsize=1024)(self._read)
        self._ignored: set[str] = set()
        """Peers that were logged because they are not trusted."""
        self._strangers = Strangers(self)

    def trusts(self, client: Address | None, server: tuple[str, int | None] | None) -> bool:
        """Whether the peer ``client`` is trusted; if it is None, whether those on the UNIX socket ``server`` are."""
        if client is None:
            return self.trusted.trusts_unix(server[0] if server is not None and server[1] is None else "")
        return client[0] in self.trusted

    def of_peer(self, client: Address | None, server: tuple[str, int | None] | None) -> Proxies | Strangers:
        """What treats a peer's headers: this object, if it :meth:`trusts` the peer, else one that ignores them."""
        return self if self.trusts(client, server) else self._strangers

    def ignore(self, client: Address | None) -> None:
        """Log, once for each peer, that ``client`` (None on a UNIX socket) sends such headers and is not trusted.

        It may be the operator's own proxy, or any stranger. So no more than ``MAX_NAMED`` peers are logged.
        """
        peer = client[0] if client is not None else "unix:"
        if peer in self._ignored or len(self._ignored) > MAX_NAMED:
            return
        self._ignored.add(peer)
        if len(self._ignored) > MAX_NAMED:
            logger.warning("X-Forwarded headers of more than %d peers are ignored; further peers are not logged", MAX_NAMED)
            return
        text = "X-Forwarded headers of %s are ignored: it is not trusted; if it is your proxy, give --forwarded-allow-ips %s"
        logger.warning(text, peer, peer)

    def unveil(self, base: Scope, headers: Fields, name: str) -> tuple[Scope, str]:
        """Scope and client's name for the log: ``base`` and ``name``, corrected by the ``headers`` of a trusted peer."""
        given = tuple(b", ".join(value for field, value in headers if field == wanted) for wanted in _ADDED)
        protos = [value for field, value in headers if field == b"x-forwarded-proto"]
        proto = last_of(b",".join(protos)) if protos else None
        read = self._cached if sum(map(len, given)) <= MAX_CACHED and len(proto or b"") <= MAX_CACHED else self._read
        client, scheme = read(given[0], given[1], proto)
        if client is not None:
            base = {**base, "client": client}
            name = f"{client[0]}:{client[1]}"
        if scheme is not None:
            base = {**base, "scheme": scheme}
        return base, name

    def _read(self, x_for: bytes, forwarded: bytes, x_proto: bytes | None) -> tuple[Address | None, str | None]:
        """Client and scheme; None for what the headers do not tell.

        Forwarded counts only if there is no X-Forwarded header: few proxies support it, and the others would pass on what a
        client made up.
        """
        if x_for or x_proto is not None:
            scheme = SCHEMES.get((x_proto or b"").decode("latin-1").strip().lower())
            return self._walk_x_for(x_for.decode("latin-1")), scheme
        return self._walk_forwarded(forwarded.decode("latin-1"))

    def _walk_x_for(self, text: str) -> Address | None:
        nodes = [node.strip() for node in text.split(",")]
        if self.trusted.everyone:
            return self._read_node(nodes[0])
        client = None
        for node in reversed(nodes):
            found = self._read_node(node)
            if found is None:
                # It is not certain which proxy wrote that, so the last address that is certain counts.
                break
            client = found
            if found[0] not in self.trusted:
                break
        return client

    def _read_node(self, text: str) -> Address | None:
        """The address in an element of X-Forwarded-For, for which there is no specification; None if it is malformed."""
        bare = text.count(":") > 1 and not text.startswith("[")
        found = parse_node(f"[{text}]" if bare else text)
        if found is None and text and not self.trusted.everyone and text in self.trusted:
            return text, 0
        return found

    def _walk_forwarded(self, text: str) -> tuple[Address | None, str | None]:
        client = scheme = None
        for element in elements(text):
            found = parse_node(element.get("for", ""))
            proto = SCHEMES.get(element.get("proto", "").lower())
            if found is None:
                # A proxy that hides its client may still report the scheme.
                return client, proto or scheme
            client, scheme = found, proto
            if found[0] not in self.trusted:
                break
        return client, scheme


def last_of(value: bytes) -> bytes:
    """The last element of a list that is not empty (RFC 9110 section 5.6.1); empty if there is none.

    Each proxy that knows the header appends to it, so the last was written by the nearest one.
    """
    return next((item for item in map(bytes.strip, reversed(value.split(b","))) if item), b"")


_ADDED = (b"x-forwarded-for", b"forwarded")
"""The headers that each proxy appends to; several lines of one are one list."""


def parse_node(text: str) -> Address | None:
    """A node of Forwarded (RFC 7239 section 6): an address, IPv6 in brackets, with or without a port; ``unknown``; or a name
    that a proxy made up (``_hidden``). None if it is malformed."""
    if match := re.fullmatch(_V4, text) or re.fullmatch(_V6, text):
        host, port = match[1], match[2] or "0"
        number = 0 if port[0] == "_" else int(port)
        try:
            _normal(host)
        except ValueError:
            return None
        return (host, number) if number <= 65535 else None
    match = re.fullmatch(_NAMELESS, text) if len(text) <= MAX_NODE else None
    return (match[1], 0) if match else None


def elements(text: str) -> Iterator[dict[str, str]]:
    """The elements of Forwarded (RFC 7239 section 4) from the right, parameters by lower-case name; ends where it is malformed.

    They are read from the right, so a quotation mark that a client leaves open can't hide what the proxies have added.
    """
    end = start = len(text)
    for _ in range(MAX_STEPS):
        if end < 0:
            return
        start = text.rfind(",", 0, start)
        element = text[start + 1 : end].strip(" \t")
        if re.fullmatch(_PAIRS, element):
            pairs = [(name.lower(), _unquote(value)) for name, value in re.findall(_PAIR, element)]
            if len(dict(pairs)) != len(pairs):
                return
            if pairs:
                yield dict(pairs)
            end = start
        elif start < 0:
            # If it does not match, the comma may be in quotes: then the element begins further left.
            return


def _unquote(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value[:1] == '"' else value
