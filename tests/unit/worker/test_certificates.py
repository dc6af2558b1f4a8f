"""Which TLS context a worker uses."""

from __future__ import annotations

from pathlib import Path

from support.certificates import Authority
from tricorn.config.options import Config
from tricorn.worker import tls


def test_one_context_is_for_all_workers_while_the_files_are_the_same(tmp_path: Path) -> None:
    """So a client resumes its session with any of them: its ticket is under the context's key."""
    authority = Authority(tmp_path)
    cert, key = authority.issue()
    config = Config(app="a:b", ssl_certfile=cert, ssl_keyfile=key)
    tls.preload(config)
    first, second = tls.Certificates(config), tls.Certificates(config)
    assert first.context is not None
    assert first.context is second.context
    authority.issue()
    assert tls.Certificates(config).context is not first.context
