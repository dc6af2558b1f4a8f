"""The dashboard's page, and the policy under which a browser runs it: only what stands in the page itself."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

FILE = Path(__file__).with_name("dashboard.html")


class Page:
    """The page as it is sent, with the Content-Security-Policy that names its own script and style by their hashes."""

    def __init__(self) -> None:
        self.body = FILE.read_bytes()
        text = self.body.decode("utf-8")
        scripts, styles = (_hashes(re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)) for tag in ("script", "style"))
        self.policy = (
            "default-src 'none'; "
            f"script-src {scripts}; style-src {styles}; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ).encode()


def _hashes(texts: list[str]) -> str:
    """The sources of inline elements (CSP level 3, section 2.3.1)."""
    digests = (base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in digests)
