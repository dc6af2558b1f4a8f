"""Certificates for tests, made on the spot."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization


@dataclass
class Authority:
    """Signs certificates; ``folder`` holds the files."""

    folder: Path

    def __post_init__(self) -> None:
        self._ca = trustme.CA()
        self.file = str(self.folder / "ca.pem")
        self._ca.cert_pem.write_to_path(self.file)

    def issue(self, name: str = "server", common_name: str | None = None) -> tuple[str, str]:
        """Files of a certificate chain for 127.0.0.1 and localhost, and of its key; over those of the same name."""
        made = self._ca.issue_cert("127.0.0.1", "localhost", common_name=common_name)
        chain, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        # Replaced as a careful tool does, so that nobody reads half of one.
        self._replace(chain, b"".join(blob.bytes() for blob in made.cert_chain_pems))
        self._replace(key, made.private_key_pem.bytes())
        return str(chain), str(key)

    def _replace(self, path: Path, data: bytes) -> None:
        new = path.with_suffix(".new")
        new.write_bytes(data)
        new.rename(path)

    def encrypt(self, key: str, password: str) -> str:
        """A copy of the ``key`` file under ``password``."""
        plain = serialization.load_pem_private_key(Path(key).read_bytes(), None)
        form = serialization.PrivateFormat.PKCS8
        hidden = serialization.BestAvailableEncryption(password.encode())
        path = Path(key).with_suffix(".encrypted")
        path.write_bytes(plain.private_bytes(serialization.Encoding.PEM, form, hidden))
        return str(path)

    def client(self, certificate: tuple[str, str] | None = None) -> ssl.SSLContext:
        """What a client that trusts this authority uses."""
        context = ssl.create_default_context(cafile=self.file)
        if certificate is not None:
            context.load_cert_chain(*certificate)
        return context
