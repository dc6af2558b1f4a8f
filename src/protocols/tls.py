"""What an application is told of a connection's TLS: the ASGI TLS extension (specification 0.2)."""

from __future__ import annotations

import re
import ssl
from typing import Any

_VERSIONS = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
"""By the name that the ssl module gives them (RFC 8446 section 4.2.1)."""
_SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}
"""RFC 4514 section 3: the short names that every reader of distinguished names knows, by OpenSSL's long ones."""
_SPECIAL = re.compile(r'[",+;<>\\\x00]|^[ #]| $')

Subject = tuple[tuple[tuple[str, str], ...], ...]


class Context(ssl.SSLContext):
    """A server's context that keeps what an SSLContext does not tell."""

    certificate: str | None = None
    """The server's certificate, in PEM."""
    suites: dict[str, int]
    """The two bytes of each cipher suite by its name."""


def describe(connection: ssl.SSLObject) -> dict[str, Any]:
    """The entry ``tls`` of a scope's extensions, of a connection whose handshake is complete."""
    context = connection.context
    cipher = connection.cipher()
    known = context if isinstance(context, Context) else None
    chain = _chain_of(connection)
    subject: Subject = (connection.getpeercert() or {}).get("subject", ()) if chain else ()  # type: ignore[assignment]
    return {
        "server_cert": known.certificate if known else None,
        "client_cert_chain": chain,
        "client_cert_name": distinguished_name(subject) if chain else None,
        "client_cert_error": None,
        "tls_version": _VERSIONS.get(connection.version() or ""),
        "cipher_suite": known.suites.get(cipher[0]) if known and cipher is not None else None,
    }


def copy_description(description: dict[str, Any]) -> dict[str, Any]:
    """A copy of what :func:`describe` says that shares nothing that can be changed."""
    return {**description, "client_cert_chain": [*description["client_cert_chain"]]}


def _chain_of(connection: ssl.SSLObject) -> list[str]:
    """The client's certificates in PEM, its own first. Before Python 3.13 only its own: there is no way to get the others."""
    own = connection.getpeercert(binary_form=True)
    if own is None:
        return []
    ask = getattr(connection, "get_unverified_chain", None)
    return [ssl.DER_cert_to_PEM_cert(one) for one in (ask() if ask is not None else [own])]


def distinguished_name(subject: Subject) -> str:
    """``subject``, as ``getpeercert`` has it, as one string: the last part first (RFC 4514 section 2)."""
    return ",".join("+".join(_attribute(name, value) for name, value in part) for part in reversed(subject))


def _attribute(name: str, value: str) -> str:
    if name[:1].isdigit():
        # A type without a name is written as its number, and its value in DER (RFC 4514 section 2.4): a UTF8String.
        data = value.encode("utf-8")
        size = len(data).to_bytes(max(1, (len(data).bit_length() + 7) // 8), "big")
        length = size if len(data) < 128 else bytes([0x80 | len(size)]) + size
        return f"{name}=#{(b'%c%b%b' % (12, length, data)).hex()}"
    return f"{_SHORT.get(name, name)}={_SPECIAL.sub(_escape, value)}"


def _escape(found: re.Match[str]) -> str:
    return "\\00" if found[0] == "\x00" else "\\" + found[0]


def is_fit_for_http2(version: int | None, cipher: tuple[str, str, int] | None) -> bool:
    """Whether the cipher suite is one that HTTP/2 allows (RFC 9113 section 9.2.2): ephemeral keys and AEAD.

    All of TLS 1.3 are. A server prefers such suites, so only clients that offer none are told so.
    """
    name = cipher[0] if cipher is not None else ""
    return version != 0x0303 or (
        name.startswith(("ECDHE-", "DHE-")) and any(mode in name for mode in ("GCM", "CHACHA20", "CCM"))
    )
