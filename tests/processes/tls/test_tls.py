"""TLS: what is spoken, to whom, with which certificate, and that clients who can't harm nobody."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.certificates import Authority
from support.harness import (
    PATIENCE,
    ROOT,
    Server,
    pass_time,
    raw_connection,
    read_response,
    run_tricorn,
    send_request,
    wait_until,
)
from tricorn.protocols.tls import distinguished_name
from websockets.asyncio.client import connect  # The one with threads reads and writes TLS at once: requests get lost.

LOOPS = ["asyncio", "uvloop"]
PAIR = ["--ssl-certfile", "{cert}", "--ssl-keyfile", "{key}"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def files(authority: Authority) -> tuple[str, str]:
    return authority.issue()


def served(files: tuple[str, str], *arguments: str) -> Server:
    return Server("tests.apps.tells:app", "--ssl-certfile", files[0], "--ssl-keyfile", files[1], *arguments)


@contextmanager
def secured(port: int, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with (
        raw_connection(port) as connection,
        context.wrap_socket(connection, server_hostname="localhost", suppress_ragged_eofs=False) as wrapped,
    ):
        yield wrapped


def ask(port: int, context: ssl.SSLContext, path: str = "/scope") -> dict[str, Any]:
    with secured(port, context) as connection:
        send_request(connection, path)
        told: dict[str, Any] = json.loads(read_response(connection).body)
        return told


def served_certificate(port: int, context: ssl.SSLContext) -> str:
    """In PEM, as a client gets it."""
    with secured(port, context) as connection:
        data = connection.getpeercert(binary_form=True)
        assert data is not None
        return ssl.DER_cert_to_PEM_cert(data)


def first_in(path: str) -> str:
    return Path(path).read_text().split("-----END")[0] + "-----END CERTIFICATE-----\n"


# ------------------------------------------------------------------------------------------------------ what is spoken


@pytest.mark.parametrize("loop", LOOPS)
def test_http_over_tls_and_what_the_application_is_told(loop: str, authority: Authority, files: tuple[str, str]) -> None:
    context = authority.client()
    context.set_alpn_protocols(["http/1.1"])
    with served(files, "--loop", loop) as server:
        assert f"on https://127.0.0.1:{server.port}\n" in server.log
        with secured(server.port, context) as connection:
            assert connection.selected_alpn_protocol() == "http/1.1"
            assert connection.compression() is None
            for _ in range(2):
                send_request(connection, "/scope")
                told = json.loads(read_response(connection).body)
                assert (told["scheme"], told["client"]) == ("https", [*connection.getsockname()])
                assert told["extensions"]["tls"] == {
                    "server_cert": first_in(files[0]),
                    "client_cert_chain": [],
                    "client_cert_name": None,
                    "client_cert_error": None,
                    "tls_version": 0x0304,
                    "cipher_suite": 0x1302,
                }
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        tls = ask(server.port, context)["extensions"]["tls"]
        assert tls["tls_version"] == 0x0303
        assert tls["cipher_suite"] == 0xC02C  # TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, as the key is one of ECDSA.


def test_without_tls_there_is_no_such_extension() -> None:
    with Server("tests.apps.tells:app") as server, raw_connection(server.port) as connection:
        send_request(connection, "/scope")
        assert "tls" not in json.loads(read_response(connection).body)["extensions"]


@pytest.mark.parametrize("loop", LOOPS)
def test_websocket_over_tls(loop: str, authority: Authority, files: tuple[str, str]) -> None:
    async def talk(port: int) -> None:
        async with connect(f"wss://localhost:{port}/", ssl=authority.client(), proxy=None) as websocket:
            told = json.loads(await websocket.recv())
            assert told["scheme"] == "wss"
            assert told["extensions"]["tls"]["tls_version"] == 0x0304
            await websocket.send("x" * 100_000)
            assert await websocket.recv() == "x" * 100_000
            await websocket.close(1000)

    with served(files, "--loop", loop) as server:
        asyncio.run(talk(server.port))


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("path", ["/big", "/file", "/stream"])
def test_responses_arrive_whole_and_end_with_an_alert(
    loop: str, path: str, authority: Authority, files: tuple[str, str]
) -> None:
    """The closing alert (RFC 8446 section 6.1) is how a client tells an end from a cut: a ragged one would raise."""
    with served(files, "--loop", loop) as server, secured(server.port, authority.client()) as connection:
        send_request(connection, path, "Connection: close")
        received = bytearray()
        while piece := connection.recv(200_000):
            received += piece
            if path == "/big" and len(received) < 1_000_000:
                pass_time(0.05)
        _, _, body = bytes(received).partition(b"\r\n\r\n")
        if path == "/big":
            assert len(body) == 8_000_000
        elif path == "/file":
            assert body.endswith(b"\r\n0\r\n\r\n") or body == (ROOT / "tests" / "apps" / "tells.py").read_bytes()
        else:
            assert body.endswith(b"4\n\r\n4\r\nend\n\r\n0\r\n\r\n")


def test_uploads(authority: Authority, files: tuple[str, str]) -> None:
    with served(files) as server, secured(server.port, authority.client()) as connection:
        send_request(connection, "/upload", "Content-Length: 8000000", method="POST")
        connection.sendall(bytes(8_000_000))
        assert read_response(connection).body == b"8000000"


@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_that_half_closes_is_gone(loop: str, authority: Authority, files: tuple[str, str]) -> None:
    """Half of TLS is never open; what matters is that it ends at once and nothing is logged."""
    with served(files, "--loop", loop) as server:
        with secured(server.port, authority.client()) as connection:
            send_request(connection, "/slow")
            begun = time.monotonic()
            plain = connection.unwrap()
            assert plain.recv(1) == b""
            # The application would take twenty.
            assert time.monotonic() - begun < 10
        assert ask(server.port, authority.client())["scheme"] == "https"
        assert "eof_received" not in server.log
        assert "ERROR" not in server.log


@pytest.mark.parametrize("loop", LOOPS)
def test_an_idle_client_that_ignores_the_alert_does_not_hold_up_the_end(
    loop: str, authority: Authority, files: tuple[str, str]
) -> None:
    with served(files, "--loop", loop) as server, secured(server.port, authority.client()) as connection:
        send_request(connection, "/scope")
        read_response(connection)
        # Well before the grace of thirty seconds.
        assert server.stop(timeout=15) == 0
        assert "killed" not in server.log
        assert connection.recv(1) == b""


# ---------------------------------------------------------------------------------------------------------- who may in


def test_client_certificates(authority: Authority, files: tuple[str, str], tmp_path: Path) -> None:
    known = authority.issue("client", common_name='Zoë, of "Acme"')
    stranger = Authority(tmp_path).issue("stranger")
    with served(files, "--ssl-ca-certs", authority.file, "--ssl-cert-reqs", "2") as server:
        tls = ask(server.port, authority.client(known))["extensions"]["tls"]
        assert tls["client_cert_chain"][0] == first_in(known[0])
        assert tls["client_cert_name"].startswith('CN=Zoë\\, of \\"Acme\\",OU=')
        assert tls["client_cert_error"] is None
        for context in (authority.client(), authority.client(stranger)):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                ask(server.port, context)
        assert "ERROR" not in server.log
    with served(files, "--ssl-ca-certs", authority.file, "--ssl-cert-reqs", "1") as server:
        assert ask(server.port, authority.client())["extensions"]["tls"]["client_cert_chain"] == []
        assert ask(server.port, authority.client(known))["extensions"]["tls"]["client_cert_name"]
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(server.port, authority.client(stranger))


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ((), ""),
        (((("countryName", "UK"),), (("commonName", "Ann"),)), "CN=Ann,C=UK"),
        (((("organizationalUnitName", "Sales"), ("commonName", "J. Smith")),), "OU=Sales+CN=J. Smith"),
        (((("commonName", ' #a+b"c\\d<e>f;g,h '),),), 'CN=\\ #a\\+b\\"c\\\\d\\<e\\>f\\;g\\,h\\ '),
        (((("commonName", "#1"),),), "CN=\\#1"),
        (((("emailAddress", "a@b"),),), "emailAddress=a@b"),
        (((("1.2.3.4", "é"),),), "1.2.3.4=#0c02c3a9"),
        (((("1.2.3.4", "x" * 200),),), "1.2.3.4=#0c81c8" + "78" * 200),
    ],
)
def test_distinguished_names(subject: Any, text: str) -> None:
    """RFC 4514 sections 2 and 4."""
    assert distinguished_name(subject) == text


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("loop", LOOPS)
def test_peers_that_speak_no_tls_harm_nobody(loop: str, authority: Authority, files: tuple[str, str]) -> None:
    with served(files, "--loop", loop, "--timeout-ssl-handshake", "1") as server:
        silent = [socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) for _ in range(100)]
        for number, connection in enumerate(silent):
            connection.sendall(b"\x16\x03\x01"[: number % 4])
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", bytes(1000), b"\x16\x03\x01\xff\xff" + bytes(70000), b""):
            with raw_connection(server.port) as connection:
                try:
                    connection.sendall(garbage)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                except OSError:
                    pass
        assert ask(server.port, authority.client())["scheme"] == "https"
        for connection in silent:
            read_to_end(connection)
            connection.close()
        old = authority.client()
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(server.port, old)
        assert "ERROR" not in server.log
        assert "Traceback" not in server.log


@pytest.mark.parametrize("loop", LOOPS)
def test_plain_http_is_told_that_this_is_tls(loop: str, authority: Authority, files: tuple[str, str]) -> None:
    with served(files, "--loop", loop) as server:
        for request in (
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n" + bytes(9999),
        ):
            with raw_connection(server.port) as connection:
                connection.sendall(request[:1])
                connection.sendall(request[1:])
                head, _, body = read_to_end(connection).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400 ")
            assert b"connection: close" in head
            assert b"TLS" in body
        assert ask(server.port, authority.client())["scheme"] == "https"
        assert "Traceback" not in server.log


def test_who_connects_and_says_nothing_costs_little(authority: Authority, files: tuple[str, str]) -> None:
    with served(files, "--loop", "asyncio") as server, contextlib.ExitStack() as stack:
        ask(server.port, authority.client())
        worker = psutil.Process(server.workers()[0])
        before, files_open = worker.memory_info().rss, worker.num_fds()
        for _ in range(200):
            stack.enter_context(raw_connection(server.port))
        wait_until(lambda: worker.num_fds() > files_open + 190, what="nearly all are accepted")
        # A TLS state, with asyncio's buffers, would be some 200 KiB for each.
        assert worker.memory_info().rss - before < 200 * 50 * 1024


@pytest.mark.parametrize("loop", LOOPS)
def test_an_idle_connection_costs_little(loop: str, authority: Authority, files: tuple[str, str]) -> None:
    """OpenSSL has some 15 KiB for each. Event loops' own TLS would have 45 (uvloop) and 250 (asyncio)."""
    context = authority.client()
    with served(files, "--loop", loop, "--timeout-keep-alive", "60") as server, contextlib.ExitStack() as stack:
        server.wait_for_ready(1)
        worker = psutil.Process(server.workers()[0])

        def open_some(count: int) -> int:
            for _ in range(count):
                connection = stack.enter_context(secured(server.port, context))
                send_request(connection, "/scope")
                read_response(connection)
            return int(worker.memory_full_info().uss)

        before = open_some(50)
        assert open_some(200) - before < 200 * 35 * 1024


def read_to_end(connection: socket.socket) -> bytes:
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except ConnectionResetError:
        pass
    return found


def test_proxy_protocol_comes_before_the_handshake(authority: Authority, files: tuple[str, str]) -> None:
    with served(files, "--proxy-protocol") as server, raw_connection(server.port) as connection:
        connection.sendall(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n")
        with authority.client().wrap_socket(connection, server_hostname="localhost") as wrapped:
            send_request(wrapped, "/scope")
            told = json.loads(read_response(wrapped).body)
            assert (told["client"], told["server"], told["scheme"]) == (["192.0.2.7", 4711], ["198.51.100.1", 443], "https")


# ---------------------------------------------------------------------------------------------------- other certificates


@pytest.mark.parametrize("loop", LOOPS)
def test_the_certificate_is_replaced_when_its_files_change(loop: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = authority.issue()
    context = authority.client()
    with served(files, "--loop", loop, "--workers", "2", "--timeout-keep-alive", "60") as server:
        server.wait_for_ready(2)
        with secured(server.port, context) as kept:
            send_request(kept, "/scope")
            read_response(kept)
            pids = server.workers()
            authority.issue()
            server.wait_for_log("Certificate replaced", count=2)
            assert served_certificate(server.port, context) == first_in(files[0])
            assert server.workers() == pids
            send_request(kept, "/scope")
            assert read_response(kept).status == 200


def test_a_broken_certificate_changes_nothing(tmp_path: Path) -> None:
    """Neither in a worker, nor on a reload, nor for a worker that is started anew."""
    authority = Authority(tmp_path)
    files = authority.issue()
    before, context = first_in(files[0]), authority.client()
    with served(files) as server:
        server.wait_for_ready(1)
        Path(files[0]).write_text("broken")
        server.wait_for_log(
            "The certificate in use stays, because the new one can't be loaded: --ssl-certfile .*no certificate in PEM"
        )
        assert served_certificate(server.port, context) == before
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload abandoned.*--ssl-certfile .*no certificate in PEM")
        assert served_certificate(server.port, context) == before
        [worker] = server.workers()
        os.kill(worker, signal.SIGKILL)
        server.wait_for_ready(2)
        server.wait_for_log("TLS uses the certificate of the last start or reload")
        assert served_certificate(server.port, context) == before
        authority.issue()
        server.wait_for_log("Certificate replaced")
        assert served_certificate(server.port, context) == first_in(files[0])


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_fifo_in_the_place_of_a_file_blocks_nobody(tmp_path: Path, which: int) -> None:
    authority = Authority(tmp_path)
    files = (*authority.issue(), authority.file)
    with served(files[:2], "--ssl-ca-certs", authority.file) as server:
        server.wait_for_ready(1)
        os.unlink(files[which])
        os.mkfifo(files[which])
        server.send(signal.SIGHUP)
        server.wait_for_log(f"Reload abandoned, .* {files[which]}: is not a regular file")
        with secured(server.port, ssl._create_unverified_context()) as connection:
            send_request(connection, "/scope")
            assert read_response(connection).status == 200
        assert server.stop() == 0


def test_a_reload_brings_the_new_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = authority.issue()
    with served(files) as server:
        server.wait_for_ready(1)
        authority.issue()
        server.send(signal.SIGHUP)
        server.wait_for_ready(2)
        context = authority.client()
        server.wait_until(lambda: served_certificate(server.port, context) == first_in(files[0]), what="the new certificate")


# ------------------------------------------------------------------------------------------------- an operator's errors


def test_an_encrypted_key(authority: Authority, files: tuple[str, str]) -> None:
    encrypted = authority.encrypt(files[1], "open sesame")
    with served((files[0], encrypted), "--ssl-keyfile-password", "open sesame") as server:
        assert ask(server.port, authority.client())["scheme"] == "https"


def test_key_and_certificate_in_one_file(authority: Authority, files: tuple[str, str], tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_text(Path(files[1]).read_text() + Path(files[0]).read_text())
    with Server("tests.apps.tells:app", "--ssl-certfile", str(both)) as server:
        assert ask(server.port, authority.client())["scheme"] == "https"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--ssl-certfile", "{tmp}/none"], 2, "--ssl-certfile {tmp}/none: No such file or directory"),
        (["--ssl-certfile", "{cert}"], 2, "--ssl-certfile {cert}: holds no private key; give --ssl-keyfile"),
        (["--ssl-certfile", "{cert}", "--ssl-keyfile", "{tmp}/none"], 2, "--ssl-keyfile {tmp}/none: No such file or directory"),
        (["--ssl-certfile", "{tmp}", "--ssl-keyfile", "{key}"], 2, "--ssl-certfile {tmp}: Is a directory"),
        (["--ssl-certfile", "{key}", "--ssl-keyfile", "{key}"], 2, "--ssl-certfile {key}: no certificate in PEM"),
        (
            ["--ssl-certfile", "{cert}", "--ssl-keyfile", "{cert}"],
            2,
            "--ssl-keyfile {cert}: no private key in PEM, or {cert} is damaged",
        ),
        (
            ["--ssl-certfile", "{cert}", "--ssl-keyfile", "{other}"],
            2,
            "--ssl-keyfile {other}: does not belong to the certificate in {cert}",
        ),
        (
            ["--ssl-certfile", "{cert}", "--ssl-keyfile", "{hidden}"],
            2,
            "--ssl-keyfile {hidden}: the key is encrypted; give --ssl-keyfile-password",
        ),
        (
            ["--ssl-certfile", "{cert}", "--ssl-keyfile", "{hidden}", "--ssl-keyfile-password", "wrong"],
            2,
            "--ssl-keyfile {hidden}: the key can't be decrypted with --ssl-keyfile-password",
        ),
        (["--ssl-keyfile", "{key}"], 2, "--ssl-keyfile {key}: needs --ssl-certfile"),
        (["--ssl-keyfile-password", "secret"], 2, "--ssl-keyfile-password: needs --ssl-certfile"),
        (["--ssl-cert-reqs", "2"], 2, "--ssl-cert-reqs 2: needs --ssl-certfile"),
        (
            [*PAIR, "--ssl-cert-reqs", "2"],
            2,
            "--ssl-cert-reqs 2: needs --ssl-ca-certs",
        ),
        ([*PAIR, "--ssl-cert-reqs", "7"], 2, "--ssl-cert-reqs 7: must be 0"),
        ([*PAIR, "--ssl-version", "3"], 2, "--ssl-version 3: must be 17"),
        (
            [*PAIR, "--ssl-ciphers", "NO"],
            2,
            "--ssl-ciphers NO: OpenSSL knows none",
        ),
        (
            [*PAIR, "--ssl-ca-certs", "{key}"],
            2,
            "--ssl-ca-certs {key}: no certificate in PEM",
        ),
        (
            [*PAIR, "--ssl-ca-certs", "{tmp}/none"],
            2,
            "--ssl-ca-certs {tmp}/none: No such file or directory",
        ),
    ],
)
def test_an_operators_error_is_one_line_before_any_worker(
    arguments: list[str], code: int, message: str, authority: Authority, files: tuple[str, str], tmp_path: Path
) -> None:
    names = {
        "tmp": str(tmp_path),
        "cert": files[0],
        "key": files[1],
        "other": authority.issue("other")[1],
        "hidden": authority.encrypt(files[1], "open sesame"),
    }
    ended = run_tricorn("tests.apps.tells:app", "--port", "0", *(text.format(**names) for text in arguments))
    assert ended.returncode == code
    assert ended.stderr.startswith(f"Error: {message.format(**names)}"), ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""
    assert "secret" not in ended.stderr
