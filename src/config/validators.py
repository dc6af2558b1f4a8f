"""Parsers and validators that only one or two options need.

A validator, ``wrong_...``, returns the cause for the error message, or None if the value is right.
"""

from __future__ import annotations

import re

from .cpus import available_cpus

YES, NO = ("1", "true", "t", "yes", "y", "on"), ("0", "false", "f", "no", "n", "off")


SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40}
"""Powers of two: as nginx, Docker and systemd, we take 1 KB for 1024 bytes."""


def parse_seconds(text: str) -> float:
    """A time: ``30``, ``2.5``, ``30s``, ``500ms``, ``5m``, ``2h`` or ``1d``. Raises ValueError."""
    number, unit = _split(text)
    return float(number) * SECONDS[unit] if unit in SECONDS else float(text)


def parse_bytes(text: str) -> int:
    """A size: ``65536``, ``64KB``, ``10MB``, ``1.5GiB`` or ``1g``. Raises ValueError."""
    number, unit = _split(text)
    power = BYTES.get(unit if unit == "b" else unit.removesuffix("b").removesuffix("i"))
    if not unit or power is None:
        return int(text)
    return int(float(number) * 2**power)


def parse_mebibytes(text: str) -> int:
    """A size in MiB: ``512``, ``512MB`` or ``1.5G``. Raises ValueError."""
    return parse_bytes(text) // 2**20 if _split(text)[1] else int(text)


def _split(text: str) -> tuple[str, str]:
    """A number and the unit behind it, in lower case. Raises ValueError."""
    found = re.fullmatch(r"\s*([-+]?[\d.]+)\s*([a-zA-Z]*)\s*", text)
    if found is None:
        # Numbers such as 1e3, and what is none.
        return text, ""
    return found[1], found[2].lower()


def parse_workers(text: str) -> int:
    """The number of workers; ``auto`` is one for each available CPU. Raises ValueError."""
    return available_cpus() if text == "auto" else int(text)


def parse_switch(text: str) -> bool:
    """Whether ``text`` means yes. Raises ValueError if it means neither yes nor no."""
    word = text.strip().lower()
    if word not in (*YES, *NO):
        raise ValueError(text)
    return word in YES


def wrong_bind(text: str) -> str | None:
    """``HOST:PORT``, ``unix:PATH`` or ``fd://N``."""
    found = re.fullmatch(r"unix:.+|fd://\d+|(\[[^]]+\]|[^:]*):(\d+)", text)
    fits = found is not None and int(found[2] or 0) <= 65535
    return None if fits else "must be HOST:PORT, [IPv6]:PORT, unix:PATH or fd://N"


def wrong_admin_bind(text: str) -> str | None:
    """``HOST:PORT`` or ``unix:PATH``."""
    fits = not text.startswith("fd://") and wrong_bind(text) is None
    return None if fits else "must be HOST:PORT, [IPv6]:PORT or unix:PATH"


def wrong_statsd(text: str) -> str | None:
    """``HOST:PORT``."""
    host, _, port = text.rpartition(":")
    fits = host and port != "0" * len(port) and re.fullmatch(r"(\[[^]]+\]|[^:]+):\d+", text) and wrong_bind(text) is None
    return None if fits else "must be HOST:PORT or [IPv6]:PORT"


def wrong_otlp_endpoint(text: str) -> str | None:
    """A URL without user, query and fragment. Secrets belong into OTEL_EXPORTER_OTLP_HEADERS: this value is shown."""
    fits = re.fullmatch(r"https?://(\[[0-9a-fA-F:.]+\]|[^][/?#@:\s]+)(:\d{1,5})?(/[^?#\s]*)?", text)
    return None if fits else "must be a URL such as http://collector:4318, without user and query"


def wrong_statsd_prefix(text: str) -> str | None:
    """A name, perhaps of several parts, without the characters that end a name in StatsD."""
    return None if re.fullmatch(r"[!-~]*", text) and not set(text) & set(":|@#") else "must have no spaces, :, |, @ and #"


def wrong_mode(text: str) -> str | None:
    """A file's mode, in octal."""
    return None if re.fullmatch(r"(0o)?[0-7]{1,4}", text) else "must be a mode in octal, such as 660"


def wrong_app(text: str) -> str | None:
    """``MODULE:ATTRIBUTE``, ``MODULE``, ``FILE.py``, or nothing."""
    module, colon, attribute = text.partition(":")
    fits = not text or (module and (attribute or not colon))
    return None if fits else "must have the form MODULE:ATTRIBUTE, for example main:app"


def wrong_hooks(text: str) -> str | None:
    """``MODULE`` or ``MODULE:OBJECT``."""
    return None if re.fullmatch(r"[^:]+(:[^:]+)?", text) else "must be a module, or have the form MODULE:OBJECT"


def wrong_path(text: str) -> str | None:
    """The target of a request: a path, perhaps with a query (RFC 9112 section 3.2.1)."""
    fits = re.fullmatch(r"/[!-~]*", text) and "#" not in text
    return None if fits else "must begin with /, and have ASCII characters only, without spaces and #"


def wrong_stall(seconds: float) -> str | None:
    """Never, or what is longer than the ordinary delays of a busy machine."""
    return None if seconds == 0 or seconds >= 0.05 else "must be 0, or at least 0.05"


def wrong_share(text: str) -> str | None:
    """A number of workers, or a share of all of them."""
    fits = re.fullmatch(r"\d{1,4}|\d{1,2}%|100%", text)
    return None if fits else "must be a number of workers, or a share such as 25%"


def wrong_prefix(text: str) -> str | None:
    """How paths begin."""
    return None if text.startswith("/") else "must begin with /"


def wrong_header(line: str) -> str | None:
    """``Name:Value``, a header of every response (RFC 9110 section 5)."""
    name, colon, value = line.partition(":")
    name = name.strip()
    if not colon or not name:
        return "must have the form Name:Value"
    if not re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", name):
        return f"{name!r} is not the name of a header"
    if not re.fullmatch(r"[\t -~\xa0-\xff]*", value):
        return "the value has characters that a header can't have"
    if name.lower() in ("content-length", "transfer-encoding", "connection"):
        return f"Tricorn itself sets {name} for each response"
    return None
