"""Words: the glossary of docs/architecture.md is kept, words that were given up stay out, and the paths on that page exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.harness import ROOT

RETIRED = {
    "judges": "validators, checks",
    "herald": "SystemdNotifier",
    "doorbell": "InotifyWaiter",
    "companion": "auxiliary",
    "companions": "auxiliaries",
    "autopsy": "hang report",
    "heir": "hand off",
    "heirs": "hand off",
    "lest": "so that ... not",
    "whoever": "the actor itself",
    "believe": "trust",
    "believes": "trusts",
    "believed": "trusted",
    "judge": "check",
    "judged": "checked",
}
"""Words that were given up, in lower case, with what to say instead. They are sought as whole words, also inside of names."""

ALLOWED: dict[str, frozenset[str]] = {}
"""Files, by word, that may use it all the same: for what others have named so, or where it means something else."""

ARCHITECTURE = ROOT / "docs" / "architecture.md"
GENERATED = frozenset({"settings.md", "benchmarks.md"})
"""Pages whose text comes from elsewhere: from the options, and from the benchmark."""

WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
"""A word of prose, or a part of a name: ``StopWishes`` and ``stop_wishes`` have two."""


def words_of(text: str) -> Iterator[str]:
    return (found[0].lower() for found in WORD.finditer(text))


def files() -> list[Path]:
    """All that is written by hand for those who read the code or the pages."""
    pages = [page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in GENERATED]
    return [*sorted((ROOT / "src").rglob("*.py")), *pages, *sorted(ROOT.glob("*.md"))]


def retired_in(text: str, name: str) -> list[str]:
    """What is wrong with the text of the file ``name``, as lines for a person."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for word in words_of(line):
            if word in RETIRED and name not in ALLOWED.get(word, ()):
                found.append(f"{name}:{number}: {word!r}, say: {RETIRED[word]}")
    return found


def test_retired_words_stay_out() -> None:
    found = [fault for file in files() for fault in retired_in(file.read_text(), str(file.relative_to(ROOT)))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("text", ["a companion", "class CompanionLink:", "make_companion()", "COMPANION = 1", "Companion's"])
def test_a_retired_word_is_found_in_prose_and_names(text: str) -> None:
    assert len(retired_in(text, "somewhere.py")) == 1


@pytest.mark.parametrize("text", ["an auxiliary", "accompanion", "tallest = 1", "foremost"])
def test_other_words_are_not(text: str) -> None:
    assert retired_in(text, "somewhere.py") == []


def test_the_paths_on_the_page_exist() -> None:
    page = ARCHITECTURE.read_text()
    paths = set(re.findall(r"`((?:[a-z0-9_]+/)*[a-z0-9_]+(?:\.py|/))`", page))
    assert len(paths) > 40
    roots = (ROOT / "src", ROOT)
    missing = [path for path in sorted(paths) if not any((root / path).exists() for root in roots)]
    assert not missing


def named_in(page: str) -> set[tuple[str, str]]:
    """Names, each with the file that the page gives for it: NAME in FILE, NAME (FILE), FILE (NAME)."""
    file, name = r"`((?:[a-z0-9_]+/)*[a-z0-9_]+\.py)`", r"`([A-Za-z_]+(?:\.[A-Za-z_]+)?)`"
    found = set(re.findall(rf"{name} (?:in|of) {file}", page)) | set(re.findall(rf"{name} \({file}\)", page))
    return found | {(one, where) for where, one in re.findall(rf"{file} \({name}", page)}


def test_the_names_on_the_page_are_where_it_says() -> None:
    named = named_in(ARCHITECTURE.read_text())
    assert len(named) > 25
    sources = {path: (ROOT / "src" / path) if (ROOT / "src" / path).exists() else ROOT / path for _, path in named}
    parts = [(part, path) for name, path in named for part in name.removeprefix("tricorn.").split(".")]
    missing = [f"{part}: {path}" for part, path in sorted(parts) if not re.search(rf"\b{part}\b", sources[path].read_text())]
    assert not missing


def test_the_files_in_the_pictures_exist() -> None:
    names = {file.name for file in (ROOT / "src").rglob("*.py")}
    for picture in ("rooms.svg", "request.svg"):
        shown = set(re.findall(r"[a-z0-9_]+\.py", (ROOT / "docs" / picture).read_text()))
        assert shown
        assert shown <= names, f"{picture}: {shown - names}"
