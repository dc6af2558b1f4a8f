"""Listening sockets: where they are bound, and what an operator is told when they can't be."""

from __future__ import annotations

import gc
import os
import re
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
from tricorn.config.options import Config
from tricorn.embedding.server import adopt
from tricorn.supervisor.listeners import ListenerError, Listeners, bind, url
from tricorn.supervisor.port_owner import MAX_TRIED

HAS_IPV6 = socket.has_ipv6 and Path("/proc/net/if_inet6").exists() and Path("/proc/net/if_inet6").read_text() != ""


@pytest.fixture
def listen() -> Iterator[Callable[..., Listeners]]:
    """``bind`` with options, closed at the end."""
    with ExitStack() as stack:

        def bound(**options: Any) -> Listeners:
            listeners = bind(Config(app="a:b", **options))
            stack.callback(listeners.close)
            return listeners

        yield bound


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def refused(**options: Any) -> str:
    """What the operator is told: one line."""
    with pytest.raises(ListenerError) as caught:
        bind(Config(app="a:b", **options)).close()
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------------------------- TCP


def test_a_picked_port_answers(listen: Callable[..., Listeners]) -> None:
    listeners = listen(port=0)
    (listener,) = listeners.sockets
    assert listeners.urls() == [f"http://127.0.0.1:{listener.getsockname()[1]}"]
    assert not listener.getblocking()
    assert not listener.get_inheritable()
    socket.create_connection(listener.getsockname()).close()


def test_several_hosts_share_the_picked_port(listen: Callable[..., Listeners]) -> None:
    listeners = listen(host=("127.0.0.1", "127.0.0.2"), port=0)
    assert len({listener.getsockname()[1] for listener in listeners.sockets}) == 1
    assert [listener.getsockname()[0] for listener in listeners.sockets] == ["127.0.0.1", "127.0.0.2"]


def test_a_name_is_resolved_and_each_address_taken_once(listen: Callable[..., Listeners]) -> None:
    names = [listener.getsockname()[0] for listener in listen(host=("localhost",), port=0).sockets]
    assert "127.0.0.1" in names
    assert len(names) == len(set(names))


@pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6")
def test_both_wildcards_can_be_given(listen: Callable[..., Listeners]) -> None:
    families = [listener.family for listener in listen(host=("0.0.0.0", "::"), port=0).sockets]
    assert families == [socket.AF_INET, socket.AF_INET6]


@pytest.mark.parametrize(
    ("family", "address", "shown"),
    [
        (socket.AF_INET, ("127.0.0.1", 8000), "http://127.0.0.1:8000"),
        (socket.AF_INET, ("0.0.0.0", 80), "http://127.0.0.1:80 (on all IPv4 addresses)"),
        (socket.AF_INET6, ("::1", 8000, 0, 0), "http://[::1]:8000"),
        (socket.AF_INET6, ("::", 8000, 0, 0), "http://[::1]:8000 (on all IPv6 addresses)"),
        (socket.AF_UNIX, "/run/app.sock", "unix:/run/app.sock"),
    ],
)
def test_an_address_is_shown_so_that_it_can_be_opened(family: int, address: Any, shown: str) -> None:
    assert url(family, address) == shown


def test_a_port_in_use(taken: int) -> None:
    owner = psutil.Process()
    said = re.fullmatch(rf"--port {taken}: port {taken} is in use by (.+) \[(\d+)\]; try --port (\d+)", refused(port=taken))
    assert said is not None
    assert said.groups()[:2] == (owner.name(), str(owner.pid))
    assert taken < int(said[3]) < taken + MAX_TRIED


def test_a_port_in_use_that_bind_names(taken: int) -> None:
    assert refused(bind=(f"127.0.0.1:{taken}",)).startswith(f"--bind 127.0.0.1:{taken}: port {taken} is in use by ")


def test_nothing_stays_open_when_one_host_fails(taken: int) -> None:
    # Lest what other tests left to the collector be closed meanwhile.
    gc.collect()
    before = os.listdir("/dev/fd")
    refused(host=("127.0.0.2", "127.0.0.1"), port=taken)
    assert len(os.listdir("/dev/fd")) == len(before)


def test_an_address_of_another_machine() -> None:
    assert refused(host=("192.0.2.1",), port=0) == "--host 192.0.2.1: not an address of this machine"


def test_a_name_that_is_not_known() -> None:
    assert refused(host=("no-such-host.invalid",), port=0).startswith("--host no-such-host.invalid: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may bind any port")
def test_a_privileged_port() -> None:
    assert refused(port=1).startswith("--port 1: permission denied")


# ------------------------------------------------------------------------------------------------------------------ UNIX


def test_a_unix_socket_is_open_to_all_and_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    listeners = bind(Config(app="a:b", uds=str(path)))
    assert listeners.urls() == [f"unix:{path}"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    listeners.close()
    assert not path.exists()


def test_a_stale_unix_socket_is_replaced(tmp_path: Path, listen: Callable[..., Listeners]) -> None:
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listen(uds=str(path))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


@pytest.mark.parametrize("backlog", [16, 0], ids=["idle", "with a full backlog"])
def test_a_live_unix_socket_is_an_error(tmp_path: Path, backlog: int) -> None:
    path = str(tmp_path / "app.sock")
    with socket.socket(socket.AF_UNIX) as other, ExitStack() as stack:
        other.bind(path)
        other.listen(backlog)
        for _ in range(3 if backlog == 0 else 0):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            client.connect_ex(path)
        assert refused(uds=path) == f"--uds {path}: another server owns it"


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    assert refused(uds=str(path)) == f"--uds {path}: exists and is not a socket"
    assert path.read_text() == "data"


def test_a_directory_that_is_not_there() -> None:
    assert refused(uds="/no/such/directory/app.sock") == "--uds /no/such/directory/app.sock: No such file or directory"


def test_a_path_that_is_too_long() -> None:
    assert "too long" in refused(uds="/tmp/" + "x" * 200)


def test_the_socket_of_a_successor_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    ours = bind(Config(app="a:b", uds=str(path)))
    path.unlink()
    with socket.socket(socket.AF_UNIX) as successor:
        successor.bind(str(path))
        ours.close()
        assert path.exists()


# ------------------------------------------------------------------------------------------------------------- inherited


def test_an_inherited_listener_is_used(listen: Callable[..., Listeners]) -> None:
    given = socket.create_server(("127.0.0.1", 0))
    address = given.getsockname()
    listeners = listen(fd=given.detach())
    assert listeners.urls() == [f"http://127.0.0.1:{address[1]}"]
    socket.create_connection(address).close()


def test_an_inherited_socket_that_is_only_bound_is_made_to_listen(listen: Callable[..., Listeners]) -> None:
    given = socket.socket()
    given.bind(("127.0.0.1", 0))
    address = given.getsockname()
    listen(fd=given.detach())
    socket.create_connection(address).close()


@pytest.mark.parametrize("how", ["bound", "inherited", "given"])
def test_small_writes_do_not_wait_for_each_others_acknowledgement(listen: Callable[..., Listeners], how: str) -> None:
    if how == "bound":
        listeners = listen(port=0)
    else:
        given = socket.create_server(("127.0.0.1", 0))
        listeners = listen(fd=given.detach()) if how == "inherited" else adopt([given], 16)
    (listener,) = listeners.sockets
    with socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    listeners.close()


def test_a_descriptor_that_is_not_open() -> None:
    assert refused(fd=987) == "--fd 987: no such descriptor is open"


def test_a_descriptor_of_a_file(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w") as file:
        assert refused(fd=file.fileno()) == f"--fd {file.fileno()}: not a socket"


@pytest.mark.parametrize("kind", ["datagram", "connected"])
def test_a_socket_of_the_wrong_kind(kind: str) -> None:
    ends: list[socket.socket] = list(socket.socketpair()) if kind == "connected" else []
    ends = ends or [socket.socket(type=socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM)]
    fd = os.dup(ends[0].fileno())
    wanted = "a stream socket" if kind == "datagram" else "a listening socket"
    assert refused(fd=fd) == f"--fd {fd}: not {wanted}"
    os.close(fd)
    for end in ends:
        end.close()
