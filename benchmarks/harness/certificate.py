"""The certificate that all servers use: ECDSA P-256, as most of the web's."""

from __future__ import annotations

from .environment import CACHE

FILES = CACHE / "certificate.pem", CACHE / "key.pem"
"""The certificate with its chain, and its key."""


def make() -> None:
    """Write both files, if they are not there."""
    if all(file.exists() for file in FILES):
        return
    import trustme

    made = trustme.CA().issue_cert("localhost", "127.0.0.1")
    CACHE.mkdir(exist_ok=True)
    cert, key = FILES
    made.private_key_pem.write_to_path(key)
    for number, blob in enumerate(made.cert_chain_pems):
        blob.write_to_path(cert, append=number > 0)
