"""A control socket that can't be served is closed; the rest of the supervisor goes on."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import NoReturn

import pytest
from tricorn.config.options import Config
from tricorn.supervisor.control.entrance import ControlEntrance
from tricorn.supervisor.control.listener import open_listener
from tricorn.supervisor.control.server import ControlServer
from tricorn.supervisor.control.status import Supervised
from tricorn.supervisor.control.workers import Workers
from tricorn.supervisor.fleet import Fleet
from tricorn.supervisor.host import Host
from tricorn.supervisor.own_descriptors import OwnDescriptors


@pytest.fixture
def host() -> Iterator[Host]:
    own = OwnDescriptors()
    with Host((), own=own) as host:
        yield host


def connect(path: str) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(30)
    client.connect(path)
    return client


def test_what_can_not_be_imported_closes_only_the_socket(
    host: Host, tmp_path: object, caplog: pytest.LogCaptureFixture
) -> None:
    own = OwnDescriptors()
    path = f"{tmp_path}/control"
    listener = open_listener(Config(app="a:b", control_socket=path))
    assert listener is not None

    def fail() -> ControlServer:
        raise ImportError("no module named tricorn")

    entrance = ControlEntrance(listener, host.wakeup, own, fail)
    host.attach(entrance)
    with connect(path) as client, caplog.at_level(logging.ERROR, logger="tricorn.error"):
        assert host.wait(host.now() + 1) == []
        with suppress(ConnectionResetError):
            assert client.recv(100) == b""
    entrance.remove()
    assert "The control socket is closed, because serving it fails" in caplog.text
    assert not os.path.exists(path)
    assert host.wait(host.now()) == [], "nothing is left to wake it"


def test_a_mistake_of_ours_closes_only_the_socket(host: Host, tmp_path: object, caplog: pytest.LogCaptureFixture) -> None:
    own = OwnDescriptors()
    path = f"{tmp_path}/control"
    listener = open_listener(Config(app="a:b", control_socket=path))
    assert listener is not None
    # No URLs, no processes: there is no status to tell.
    supervised = Supervised("a:b", (), (), host.now(), None, os.getpid())  # type: ignore[arg-type]
    entrance = ControlEntrance(listener, host.wakeup, own, lambda: ControlServer(listener, host.wakeup, own, supervised))
    host.attach(entrance)
    fleet = Fleet(Config(app="a:b"), lambda: 0.0)
    fleet.handle([], host.now())
    with connect(path) as client, caplog.at_level(logging.ERROR, logger="tricorn.error"):
        host.wait(host.now() + 1)
        client.sendall(b'{"command": "status"}\n')
        host.wait(host.now() + 1)
        entrance.look(fleet.snapshot(), host.now())
        told = client.recv(1000)
        assert b'"tricorn"' in told
        assert client.recv(100) == b""
    assert "The control socket is closed, because serving it fails" in caplog.text
    assert host.wait(host.now()) == []


def fail(*_: object) -> NoReturn:
    raise RuntimeError("a mistake of ours")


@pytest.mark.parametrize("where", ["heard", "answered"])
def test_a_mistake_closes_only_the_socket_wherever_it_is(
    where: str, host: Host, tmp_path: object, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = OwnDescriptors()
    path = f"{tmp_path}/control"
    listener = open_listener(Config(app="a:b", control_socket=path))
    assert listener is not None
    supervised = Supervised("a:b", (), (), host.now(), Workers(host), os.getpid())
    entrance = ControlEntrance(listener, host.wakeup, own, lambda: ControlServer(listener, host.wakeup, own, supervised))
    host.attach(entrance)
    with connect(path) as client, caplog.at_level(logging.ERROR, logger="tricorn.error"):
        host.wait(host.now() + 1)
        assert b'"tricorn"' in client.recv(1000)
        if where == "heard":
            monkeypatch.setattr("tricorn.supervisor.control.server.parse", fail)
            client.sendall(b'{"command": "status"}\n')
        else:
            assert host.children.inspector.ask([], False, fail)
        host.wait(host.now() + 1)
        with suppress(ConnectionResetError):
            assert client.recv(100) == b""
    assert caplog.text.count("The control socket is closed, because serving it fails") == 1
    assert host.wait(host.now()) == []
