"""How options are named in messages."""

from __future__ import annotations

from typing import Any

import pytest
from tricorn.config.options import OPTIONS


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("statsd", "a:1", "--statsd a:1"),
        ("app_metrics", True, "--app-metrics"),
        ("ssl_keyfile_password", "secret", "--ssl-keyfile-password"),
        ("admin_host", ("a", "b"), "--admin-host a --admin-host b"),
        ("admin_host", (), "--admin-host"),
    ],
)
def test_an_option_is_shown_as_it_is_given(name: str, value: Any, shown: str) -> None:
    assert OPTIONS[name].show(value) == shown
