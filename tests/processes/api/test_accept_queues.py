"""Connections that wait to be accepted, by listener, as the kernel tells."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.harness import wait_until
from tricorn.ipc.address import Address, address_of
from tricorn.metrics.queues import accept_queues


def listen(stack: ExitStack, family: int, address: object) -> socket.socket:
    listener = stack.enter_context(socket.socket(family))
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind(address)  # type: ignore[arg-type]
    listener.listen()
    return listener


def connect(stack: ExitStack, family: int, address: object) -> None:
    stack.enter_context(socket.socket(family)).connect(address)  # type: ignore[arg-type]


@pytest.mark.parametrize("wildcard", [False, True])
def test_listeners_of_one_port_are_told_apart(tmp_path: Path, wildcard: bool) -> None:
    if not hasattr(socket, "AF_NETLINK"):
        pytest.skip("only Linux tells")
    with ExitStack() as stack:
        four = listen(stack, socket.AF_INET, ("0.0.0.0" if wildcard else "127.0.0.1", 0))
        port = four.getsockname()[1]
        try:
            six = listen(stack, socket.AF_INET6, ("::" if wildcard else "::1", port))
        except OSError:
            pytest.skip("there is no IPv6")
        unix = listen(stack, socket.AF_UNIX, str(tmp_path / "a socket"))
        listeners = [four, six, unix]
        if not wildcard:
            listeners.append(listen(stack, socket.AF_INET, ("127.0.0.2", port)))
            connect(stack, socket.AF_INET, ("127.0.0.2", port))
        for _ in range(3):
            connect(stack, socket.AF_INET, ("127.0.0.1", port))
        for _ in range(2):
            connect(stack, socket.AF_UNIX, unix.getsockname())
        addresses = [address_of(listener) for listener in listeners]
        wanted = [3, 0, 2, 1][: len(addresses)]
        wait_until(lambda: list(accept_queues(addresses).values()) == wanted, what=f"{wanted} waiting")


@pytest.mark.parametrize(
    ("address", "label"),
    [
        (Address("127.0.0.1", 80), "127.0.0.1:80"),
        (Address("0.0.0.0", 80), "0.0.0.0:80"),
        (Address("::", 80), "[::]:80"),
        (Address("fe80::1%eth0", 80), "[fe80::1%eth0]:80"),
        (Address("/run/a socket"), "unix:/run/a socket"),
        (Address("\0abstract"), "unix:@abstract"),
        (Address("/run/\udcff"), "unix:/run/?"),
    ],
)
def test_a_label_is_the_address(address: Address, label: str) -> None:
    assert address.label == label
