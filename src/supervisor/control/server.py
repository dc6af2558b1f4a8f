"""The supervisor's side of the control socket: clients, their requests, and the answers.

It lives in the supervisor's one wait. In one wake-up one line of each client is read. So whatever a client sends, it delays
neither signals nor other clients. Orders become facts for the fleet; their answers come back as actions. Questions are answered
after the fleet's next decision, when the server, an observer, is shown the new snapshot.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from typing import Any

from ...ipc.channel import Message, Violation
from ...ipc.control import VERSION, peer_of
from ...version import __version__
from ..answers import DONE, SENSELESS
from ..messages import Answer
from ..orders import Order
from ..own_descriptors import OwnDescriptors
from ..snapshot import Snapshot
from ..wakeup import Wakeup
from .client import MAX_OWED, Client, Gone, Owed
from .commands import ORDERS, QUESTIONS
from .listener import ControlListener
from .progress import progress
from .request import Request
from .status import Supervised

MAX_CLIENTS = 8
"""Clients served at once. A further one takes the place of the one that has been silent for longest."""
MAX_UNANSWERED = 100
"""Orders that the fleet may owe an answer: it looks at each of them after every decision."""
UNMAPPED = 65534
"""The user id that Linux shows for all users of other namespaces (user_namespaces(7), /proc/sys/kernel/overflowuid)."""
FULL = 1.0
"""Seconds until clients are accepted again if no descriptor was free."""
SILENT = 0.25
"""Seconds of silence after which a client may have to give its place. A client that has just come gets the time to ask."""


class ControlServer:
    """Serves the clients of ``listener``; an observer of the fleet. Its descriptors are in ``own``."""

    def __init__(self, listener: ControlListener, wakeup: Wakeup, own: OwnDescriptors, supervised: Supervised) -> None:
        self.due: float | None = None
        """When to look again: a client is to be dropped, or a place becomes free."""
        self._listener = listener
        self._wakeup = wakeup
        self._own = own
        self._supervised = supervised
        self._clients: list[Client] = []
        self._tickets = count(1)
        self._asked: list[tuple[Callable[..., None], Request]] = []
        """Questions that wait for the fleet's next decision."""
        self._unanswered: set[int] = set()
        """The tickets of orders that the fleet has not answered, also of clients that have left."""
        self._orders: list[Order] = []
        """Orders that the fleet was not told yet."""
        self._next: socket.socket | None = None
        """A client that was accepted while all places were taken; until it has one, no other is accepted."""
        self._admit_at: float | None = None
        """When that client gets the place of a silent one, or when clients are accepted again."""
        self._now = 0.0
        """When the fleet was looked at last."""
        self._watch_listener()

    def state(self, give: Callable[[int], int]) -> dict[str, Any]:
        """What another process needs to go on with the clients, fit for JSON; ``give`` is told of each descriptor.

        No question is unanswered, and all orders were taken.
        """
        self._tickets = count(number := next(self._tickets))
        return {
            "clients": [client.state(give) for client in self._clients],
            "next": None if self._next is None else give(self._next.fileno()),
            "next_ticket": number,
            "unanswered": sorted(self._unanswered),
        }

    def restore(self, state: Mapping[str, Any], now: float) -> None:
        """Go on from this :meth:`state`."""
        for one in state["clients"]:
            client = Client.restored(one, now, self._hear)
            self._clients.append(client)
            self._own.keep(client.connection)
            client.connection.setblocking(False)
            self._watch(client)
        self._tickets = count(state["next_ticket"])
        self._unanswered = set(state["unanswered"])
        if state["next"] is not None:
            self._next = self._own.keep(socket.socket(fileno=state["next"]))
            self._next.setblocking(False)
            self._wakeup.forget(self._listener.socket)
            self._admit_at = now

    # ------------------------------------------------------------------------------------------------------------ clients

    def _watch_listener(self) -> None:
        self._wakeup.watch(self._listener.socket, self)

    def attend(self, now: float) -> None:
        """Accept one client. The others keep waiting: those that were accepted are answered first."""
        try:
            connection, _ = self._listener.socket.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                # The client goes on waiting, and would wake us again and again.
                self._wakeup.forget(self._listener.socket)
                self._admit_at = now + FULL
            return
        self._own.keep(connection)
        connection.setblocking(False)
        if not self._is_allowed(connection):
            self._own.close(connection)
        elif len(self._clients) < MAX_CLIENTS:
            self._admit(connection, now)
        else:
            self._next = connection
            self._wakeup.forget(self._listener.socket)
            self._admit_next(now)

    def _is_allowed(self, connection: socket.socket) -> bool:
        """Whether a client may talk to us; if not, it is told."""
        try:
            pid, user = peer_of(connection)
            is_hidden = user == UNMAPPED and pid == 0 and hasattr(socket, "SO_PEERCRED")
            if user in (0, os.geteuid()) and not is_hidden:
                return True
            refusal = {"error": f"only root and user {os.geteuid()} may talk to this supervisor"}
            connection.send(json.dumps(refusal).encode("ascii") + b"\n")
        except OSError:
            pass
        return False

    def _admit(self, connection: socket.socket, now: float) -> None:
        client = Client(connection, now, self._hear)
        self._clients.append(client)
        self._wakeup.watch(connection, client)
        greeting = {"tricorn": __version__, "version": VERSION, "pid": os.getpid(), "app": self._supervised.app}
        self._send(client, greeting, now)

    def _admit_next(self, now: float) -> None:
        """Give the client that was accepted last a place: a free one, or that of a client which has been silent for a while."""
        if self._next is None:
            if self._admit_at is not None and self._admit_at <= now:
                self._admit_at = None
                self._watch_listener()
            return
        if len(self._clients) >= MAX_CLIENTS:
            silent = min(self._clients, key=lambda client: (bool(client.owed), client.heard_at))
            if now < silent.heard_at + SILENT:
                self._admit_at = silent.heard_at + SILENT
                return
            self._drop(silent)
        connection, self._next, self._admit_at = self._next, None, None
        self._admit(connection, now)
        self._watch_listener()

    def _drop(self, client: Client) -> None:
        if client in self._clients:
            self._clients.remove(client)
            self._wakeup.forget(client.connection)
            self._own.close(client.connection)

    def close(self) -> None:
        """Drop all clients, at the supervisor's end."""
        for client in self._clients:
            self._wakeup.forget(client.connection)
            self._own.close(client.connection)
        if self._next is not None:
            self._own.close(self._next)

    # ----------------------------------------------------------------------------------------------------------- requests

    def _hear(self, client: Client, now: float) -> None:
        try:
            if client.stuck_at is not None:
                client.flush(now)
            elif (line := client.read_line(now)) is not None:
                self._obey(client, line, now)
            self._watch(client)
        except Gone:
            self._drop(client)

    def _watch(self, client: Client) -> None:
        # A client that does not read is not read from either. What it may make us keep is one answer.
        is_stuck = client.stuck_at is not None
        self._wakeup.watch(client.connection, client, has_unsent=is_stuck, reads=not is_stuck)

    def _obey(self, client: Client, line: bytes, now: float) -> None:
        """Do what one line asks. Raises Gone."""
        message = parse(line)
        if message is None:
            self._refuse(client, None, "a request is one line with a JSON object that has a command", now)
            raise Gone
        name, command = message.pop("id", None), message.pop("command")
        try:
            if isinstance(name, bool) or not isinstance(name, str | int | None):
                name = None
                raise Violation("an id that is neither text nor a whole number")
            if command in ORDERS:
                self._take_order(client, name, command, message)
            elif command in QUESTIONS:
                shape, ask = QUESTIONS[command]
                answer = partial(self._reply, client, name)
                self._asked.append((ask, Request(shape.apply({**message, "kind": command}), answer)))
            else:
                raise Violation(f"an unknown command {json.dumps(command)[:100]}")
        except Violation as violation:
            self._refuse(client, name, str(violation), now)

    def _take_order(self, client: Client, name: str | int | None, command: str, message: Message) -> None:
        """Make an order of ``message`` and give it a ticket. Raises Violation."""
        waits = message.pop("wait", True)
        if not isinstance(waits, bool):
            raise Violation('a "wait" that is neither true nor false')
        shape, make = ORDERS[command]
        arguments = shape.apply({**message, "kind": command})
        if len(client.owed) >= MAX_OWED:
            raise Violation(f"more than {MAX_OWED} orders before one of them was answered")
        if len(self._unanswered) >= MAX_UNANSWERED:
            raise Violation("an order while too many are unanswered")
        ticket = next(self._tickets)
        self._orders.append(make(arguments, ticket))
        self._unanswered.add(ticket)
        client.owed[ticket] = Owed(name, waits)

    def _refuse(self, client: Client, name: Any, error: str, now: float) -> None:
        client.send(message_with(name, code=SENSELESS, answer={"error": error}), now)

    def take_orders(self) -> list[Order]:
        """The orders that came since the last call."""
        orders, self._orders = self._orders, []
        return orders

    # ------------------------------------------------------------------------------------------------------------ answers

    def answer(self, answer: Answer, now: float) -> None:
        """Pass the fleet's answer to an order on to the order's client, unless that has left."""
        self._unanswered.discard(answer.ticket)
        client = next((client for client in self._clients if answer.ticket in client.owed), None)
        if client is not None:
            name = client.owed.pop(answer.ticket).name
            self._send(client, message_with(name, code=answer.code, answer=answer.details), now)

    def look(self, snapshot: Snapshot, now: float) -> None:
        """Answer the questions that came, tell how orders go on, and drop clients that do not read."""
        self._now, self.due = now, None
        if self._clients or self._next is not None or self._admit_at is not None:
            self._serve(snapshot, now)

    def _serve(self, snapshot: Snapshot, now: float) -> None:
        asked, self._asked = self._asked, []
        for ask, request in asked:
            ask(request, snapshot, self._supervised, now)
        told = progress(snapshot)
        for client in [client for client in self._clients if client.owed]:
            self._tell_progress(client, told, now)
        for client in [client for client in self._clients if client.stuck_at is not None and client.stuck_at <= now]:
            self._drop(client)
        self._admit_next(now)
        times = [client.stuck_at for client in self._clients if client.stuck_at is not None]
        self.due = min([*times, *([] if self._admit_at is None else [self._admit_at])], default=None)

    def _tell_progress(self, client: Client, told: dict[str, Any], now: float) -> None:
        """Tell a client how its orders go on; if it does not wait for one, that it was accepted."""
        is_news = told != client.progress
        for ticket, owed in list(client.owed.items()):
            if not owed.waits:
                del client.owed[ticket]
                self._send(client, message_with(owed.name, code=DONE, answer={"ordered": True}), now)
            elif is_news and client.stuck_at is None:
                client.progress = told
                self._send(client, message_with(owed.name, progress=told), now)

    def _reply(self, client: Client, name: Any, code: int, answer: Mapping[str, Any]) -> None:
        self._send(client, message_with(name, code=code, answer=answer), self._now)

    def _send(self, client: Client, message: dict[str, Any], now: float) -> None:
        if client not in self._clients:
            return
        try:
            client.send(message, now)
            self._watch(client)
        except Gone:
            self._drop(client)


def parse(line: bytes) -> Message | None:
    """A request; None if the line is none."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) and isinstance(message.get("command"), str) else None


def message_with(name: Any, **parts: Any) -> dict[str, Any]:
    """A message that says which request it belongs to, if the client gave that a name."""
    return parts if name is None else {"id": name, **parts}
