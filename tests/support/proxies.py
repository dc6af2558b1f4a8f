"""A real nginx and a real HAProxy in front of a server under test."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.harness import PATIENCE, wait_until

# Where Debian has its daemons is not in everybody's PATH.
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


def find(name: str) -> str:
    """The program's path; skips the test where it is not installed."""
    path = shutil.which(name, path=_PATH)
    if path is None:
        pytest.skip(f"{name} is not installed (.ci/run installs it where it may)")
    return path


def free_port() -> int:
    """A port that the kernel finds free, for programs that can't be told to take any."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Proxy:
    """A proxy as a process group of its own; a context manager, inside which it takes connections on ``port``."""

    name = ""

    def __init__(self, folder: Path, upstream: str, **options: str) -> None:
        """``upstream``: where the server is, as the proxy's configuration writes it."""
        self.program = find(self.name)
        self.folder, self.upstream, self.options = folder, upstream, options

    def command(self, config: Path) -> list[str]:
        raise NotImplementedError

    def config(self) -> str:
        raise NotImplementedError

    def __enter__(self) -> Proxy:
        # Between finding a port free and using it, somebody else may take it.
        for attempt in range(5):
            if self._start():
                return self
            self.__exit__()
            assert attempt < 4, f"{self.name} does not start:\n{self.log}"
        raise AssertionError

    def _start(self) -> bool:
        self.port = free_port()
        path = self.folder / f"{self.name}.conf"
        path.write_text(self.config())
        with open(self.folder / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen(
                self.command(path), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=self.folder
            )
        wait_until(lambda: self.process.poll() is not None or self._answers(), what=f"{self.name} does not listen")
        return self.process.poll() is None

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE).close()
        except ConnectionRefusedError:
            return False
        return True

    def __exit__(self, *_: Any) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(PATIENCE)

    @property
    def log(self) -> str:
        return (self.folder / f"{self.name}.log").read_text(errors="replace")


class Nginx(Proxy):
    name = "nginx"

    def command(self, config: Path) -> list[str]:
        return [self.program, "-p", str(self.folder), "-e", "stderr", "-c", str(config)]

    def config(self) -> str:
        temporary = "\n".join(
            f"{kind}_temp_path {self.folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return f"""
daemon off; master_process off; pid {self.folder}/nginx.pid; error_log stderr info;
events {{ worker_connections 512; }}
http {{
    access_log off; {temporary}
    client_max_body_size 0;
    upstream app {{ server {self.upstream}; keepalive 16; }}
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    server {{
        listen 127.0.0.1:{self.port};
        location / {{
            proxy_pass {self.options.get("scheme", "http")}://app;
            proxy_http_version 1.1;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            {self.options.get("more", "")}
        }}
    }}
}}
"""


class NginxToHttp2(Nginx):
    """It speaks HTTP/2 with the server, as nginx does with gRPC."""

    def config(self) -> str:
        whole = re.sub(r"proxy_pass .*;", "grpc_pass grpc://app;", super().config())
        return re.sub(r"proxy_(http_version|set_header) .*;", "", whole)


class HAProxy(Proxy):
    name = "haproxy"

    def command(self, config: Path) -> list[str]:
        return [self.program, "-db", "-f", str(config)]

    def config(self) -> str:
        return f"""
global
    maxconn 512
    nbthread 2
defaults
    mode http
    timeout connect 10s
    timeout client 30s
    timeout server 30s
    timeout tunnel 30s
    option forwardfor
    http-reuse {self.options.get("reuse", "always")}
    retries 0
frontend clients
    bind 127.0.0.1:{self.port} {self.options.get("listen", "")}
    http-request set-header X-Forwarded-Proto http
    default_backend app
backend app
    server one {self.upstream} {self.options.get("more", "")}
"""
