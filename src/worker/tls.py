"""The certificate and the rules of TLS: loads and checks them, and loads them again when the files change.

The defaults are safe: TLS 1.2 or newer (RFC 8996 retires older versions), no compression (RFC 7525 section 3.3), no
renegotiation, ALPN ``h2`` and ``http/1.1`` (RFC 7301).
"""

from __future__ import annotations

import logging
import os
import ssl
import stat
from collections.abc import Callable
from typing import TypeVar

from ..config.options import OPTIONS, Config, check_needed, flag
from ..errors import ConfigError, SystemRefused
from ..protocols.tls import Context

logger = logging.getLogger("tricorn.error")

VERSIONS: dict[int, tuple[ssl.TLSVersion, ssl.TLSVersion]] = {
    ssl.PROTOCOL_TLS: (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.MAXIMUM_SUPPORTED),
    ssl.PROTOCOL_TLS_SERVER: (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.MAXIMUM_SUPPORTED),
    ssl.PROTOCOL_TLSv1_2: (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2),
}
"""The oldest and the newest version allowed, by the ssl module's number of a protocol."""
T = TypeVar("T")

_MISMATCH = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH")


class TlsError(ConfigError):
    """A file of TLS can't be used."""


class TlsDenied(TlsError, SystemRefused):
    """This process may not read the file. With ``--user``, perhaps only the supervisor may."""


def load(config: Config) -> Context | None:
    """The context that the options describe; None if they name no certificate.

    Reads the files each time. Raises TlsError for a mistake in a file, ConfigError for one in an option.
    """
    _check_options(config)
    if config.ssl_certfile is None:
        return None
    context = Context(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = VERSIONS[config.ssl_version]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["h2", "http/1.1"] if config.http2 else ["http/1.1"])
    if config.ssl_ciphers:
        try:
            context.set_ciphers(config.ssl_ciphers)
        except ssl.SSLError:
            raise ConfigError(f"--ssl-ciphers {config.ssl_ciphers}: OpenSSL knows none of them") from None
    _load_certificate(context, config, config.ssl_certfile)
    if config.ssl_ca_certs is not None:
        authorities = config.ssl_ca_certs
        _attempt("ssl_ca_certs", authorities, lambda: _check_file(authorities))
        _attempt("ssl_ca_certs", authorities, lambda: context.load_verify_locations(authorities))
    context.verify_mode = ssl.VerifyMode(config.ssl_cert_reqs)
    context.suites = {str(suite["name"]): int(suite["id"]) & 0xFFFF for suite in context.get_ciphers()}
    return context


def _check_options(config: Config) -> None:
    if config.ssl_version not in VERSIONS:
        raise ConfigError(f"--ssl-version {config.ssl_version}: must be 17 (TLS 1.2 or newer) or 5 (TLS 1.2 alone)")
    if config.ssl_cert_reqs not in list(ssl.VerifyMode):
        raise ConfigError(f"--ssl-cert-reqs {config.ssl_cert_reqs}: must be 0 (none), 1 (optional) or 2 (required)")
    check_needed(config, "ssl_certfile")
    if config.ssl_cert_reqs and config.ssl_ca_certs is None:
        raise ConfigError(
            f"--ssl-cert-reqs {config.ssl_cert_reqs}: needs --ssl-ca-certs, the authorities that sign clients' certificates"
        )


def _load_certificate(context: Context, config: Config, certfile: str) -> None:
    """Raises TlsError that says which of certificate, key and password is wrong."""
    asked = False

    def password() -> str:
        # Without this function OpenSSL would ask at the terminal, and wait.
        nonlocal asked
        asked = True
        return config.ssl_keyfile_password or ""

    _attempt("ssl_certfile", certfile, lambda: _check_file(certfile))
    context.certificate = _attempt("ssl_certfile", certfile, lambda: _first_certificate(certfile))
    name, keyfile = ("ssl_keyfile", config.ssl_keyfile) if config.ssl_keyfile is not None else ("ssl_certfile", certfile)
    _attempt(name, keyfile, lambda: _check_file(keyfile))
    try:
        context.load_cert_chain(certfile, config.ssl_keyfile, password)
    except ssl.SSLError as error:
        if error.reason in _MISMATCH:
            cause = f"does not belong to the certificate in {certfile}"
        elif asked and config.ssl_keyfile_password is None:
            cause = "the key is encrypted; give --ssl-keyfile-password"
        elif asked:
            cause = "the key can't be decrypted with --ssl-keyfile-password"
        elif config.ssl_keyfile is None:
            cause = "holds no private key; give --ssl-keyfile"
        else:
            cause = f"no private key in PEM, or {certfile} is damaged ({error.reason or error})"
        raise TlsError(f"{flag(name)} {keyfile}: {cause}") from None
    except OSError as error:
        raise _unreadable(name, keyfile, error) from None


def _attempt(name: str, path: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except ssl.SSLError:
        raise TlsError(f"{flag(name)} {path}: no certificate in PEM") from None
    except OSError as error:
        raise _unreadable(name, path, error) from None
    except ValueError as error:
        raise TlsError(f"{flag(name)} {path}: {error}") from None


def _unreadable(name: str, path: str, error: OSError) -> TlsError:
    kind = TlsDenied if isinstance(error, PermissionError) else TlsError
    return kind(f"{flag(name)} {path}: {error.strerror or error}")


def _first_certificate(path: str) -> str:
    """The first certificate of a chain, which is the server's own. Raises ValueError if there is none."""
    with open(path, encoding="ascii", errors="replace") as file:
        text = file.read()
    begin, end = text.find(ssl.PEM_HEADER), text.find(ssl.PEM_FOOTER)
    if not 0 <= begin < end:
        raise ValueError("no certificate in PEM")
    return text[begin : end + len(ssl.PEM_FOOTER)] + "\n"


def _check_file(path: str) -> None:
    """Raises OSError if it can't be read, and ValueError if it is no regular file: a FIFO would make us wait."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("is not a regular file")


Signature = tuple[tuple[int, int, int] | None, ...]

_last_good: tuple[Config, Signature, Context | None] | None = None
"""The options, the files and the context that the supervisor has loaded. Workers inherit them."""


def preload(config: Config) -> None:
    """In the supervisor, before a worker is forked: load the context. Raises as :func:`load`, so a mistake shows at once."""
    global _last_good
    sign = _sign(config)
    _last_good = config, sign, load(config)


def load_or_inherit(config: Config, sign: Signature) -> Context | None:
    """The context of :func:`preload`, if it had the same options and files (``sign``); otherwise :func:`load`.

    One context has one key for session tickets. So a client that has a ticket of one worker resumes its session with any. If
    the files have become unusable since, they do not count.
    """
    inherited = _last_good if _last_good is not None and _chosen(_last_good[0]) == _chosen(config) else None
    if inherited is not None and inherited[1] == sign:
        return inherited[2]
    try:
        return load(config)
    except TlsError as error:
        if inherited is None:
            raise
        if not isinstance(error, TlsDenied):
            logger.error("TLS uses the certificate of the last start or reload, because: %s", error)
        return inherited[2]


def _chosen(config: Config) -> list[object]:
    return [config.http2, *(getattr(config, name) for name in OPTIONS if name.startswith("ssl_"))]


class Certificates:
    """A worker's context for new connections. It is replaced when the files change and can be used.

    Open connections keep the context that they began with.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._applied = self._seen = _sign(config)
        self.context = load_or_inherit(config, self._applied)
        """None without TLS."""

    def refresh(self) -> None:
        """Once a second: load the files again if they have changed. If they can't be used, log that once."""
        if self.context is None or (sign := _sign(self._config)) == self._applied:
            return
        if sign != self._seen:
            # Certificate and key are two files, and one was just written. Wait a second for the other.
            self._seen = sign
            return
        self._applied = sign
        try:
            self.context = load(self._config)
        except TlsDenied:
            logger.warning("%s has changed. Only the supervisor may read it, so send SIGHUP to that", self._config.ssl_certfile)
        except ConfigError as error:
            logger.error("The certificate in use stays, because the new one can't be loaded: %s", error)
        else:
            logger.info("Certificate replaced: new connections use %s as it is now", self._config.ssl_certfile)


def _sign(config: Config) -> Signature:
    """Changes whenever the files change, or a symbolic link to one does."""
    paths = (config.ssl_certfile, config.ssl_keyfile, config.ssl_ca_certs)
    return tuple(_sign_of(path) for path in paths if path is not None)


def _sign_of(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
