"""Puts files and figures into the pages that show them:  python docs/include.py

In a page, the line ``<!-- file: examples/docker/Dockerfile -->`` stands before the block of code that is the file's text.
Between ``<!-- figures -->`` and ``<!-- end of figures -->`` stands what ``figures.py`` makes of the benchmark's report.
"""

from __future__ import annotations

import re
from pathlib import Path

import figures

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(<!-- file: (\S+) -->\n+```\w*\n).*?(^```$)", re.MULTILINE | re.DOTALL)

FIGURES = re.compile(r"^(<!-- figures -->)$.*?^(<!-- end of figures -->)$", re.MULTILINE | re.DOTALL)


def with_files(text: str) -> str:
    """The page's text with its blocks as the files are now."""
    text = BLOCK.sub(lambda found: found[1] + (ROOT / found[2]).read_text() + found[3], text)
    return FIGURES.sub(lambda found: f"{found[1]}\n{figures.text()}\n{found[2]}", text)


def pages() -> list[Path]:
    """All pages that may show files."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


if __name__ == "__main__":
    for page in pages():
        before = page.read_text()
        if (after := with_files(before)) != before:
            page.write_text(after)
