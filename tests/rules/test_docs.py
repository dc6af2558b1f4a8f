"""The documentation: each file of settings can be read, each link leads somewhere. Its commands: test_docs_commands.py."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.certificates import Authority
from support.harness import ROOT
from support.proxies import find, free_port
from tricorn.config import toml_file as settings_file

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[tuple[str, str]]:
    """All fenced blocks of a language, each with its page's name."""
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [(page.name, found[1]) for page in PAGES for found in fence.finditer(page.read_text())]


def test_there_are_some() -> None:
    assert blocks("toml")
    assert blocks("python")
    assert blocks("haproxy")
    assert blocks("nginx")


@pytest.mark.parametrize(("page", "text"), blocks("toml"))
def test_every_file_of_settings_can_be_read(page: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / (settings_file.PROJECT if "[tool.tricorn]" in text else "tricorn.toml")
    file.write_text(text)
    assert settings_file.read(str(file), "")


@pytest.mark.parametrize(("page", "text"), blocks("python"))
def test_every_program_can_be_compiled(page: str, text: str) -> None:
    compile(text, page, "exec")


def with_a_certificate(text: str, folder: Path) -> str:
    """The configuration of a proxy with files that are there, for those of certificates that it names."""
    certificate, key = Authority(folder).issue("shop")
    both = folder / "both.pem"
    both.write_text(Path(certificate).read_text() + Path(key).read_text())
    files = {"/etc/haproxy/shop.pem": str(both), "/etc/nginx/shop.pem": certificate, "/etc/nginx/shop.key": key}
    for named, made in files.items():
        text = text.replace(named, made)
    return text


@pytest.mark.parametrize(("page", "text"), blocks("haproxy"))
def test_haproxy_understands_its_configuration(page: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "haproxy.cfg"
    file.write_text(with_a_certificate(text, tmp_path))
    checked = subprocess.run([find("haproxy"), "-c", "-f", str(file)], capture_output=True, text=True, check=False)
    assert (checked.returncode, "[WARNING]" in checked.stderr + checked.stdout) == (0, False), checked.stderr


@pytest.mark.parametrize(("page", "text"), blocks("nginx"))
def test_nginx_understands_its_configuration(page: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "nginx.conf"
    paths = "".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    # A test need not be allowed to take a low port, which nginx tries when it only checks, too.
    listen = f"listen 127.0.0.1:{free_port()}"
    shown = text.replace("listen 443", listen) if "listen" in text else text.replace("server {\n", f"server {{ {listen};\n")
    file.write_text(f"pid {tmp_path}/pid; events {{}}\nhttp {{ {paths}\n{with_a_certificate(shown, tmp_path)} }}\n")
    command = [find("nginx"), "-t", "-q", "-p", str(tmp_path), "-e", "stderr", "-c", str(file)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_the_site_can_be_built(tmp_path: Path) -> None:
    ours = ROOT / ".venv-docs" / "bin" / "python"
    python = sys.executable if importlib.util.find_spec("material") is not None else str(ours)
    if not Path(python).exists():
        pytest.skip("mkdocs-material is not installed: make docs does that")
    command = [
        python,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "-f",
        "docs/site/mkdocs.yml",
        "--site-dir",
        str(tmp_path),
    ]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
