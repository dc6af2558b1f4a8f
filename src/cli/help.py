"""What ``-h``, ``--help``, ``--help TOPIC`` and ``--help-all`` print."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..config.options import OPTIONS, sections
from ..errors import ConfigError

SHORT = """Usage: tricorn [dev] [APP] [OPTIONS]

Serve an ASGI application from supervised worker processes. APP is
MODULE:ATTRIBUTE, MODULE or FILE.py; by default the application in main.py,
app.py or Django's asgi.py.

  tricorn dev                     develop: a saved file is served at once
  tricorn main:app --workers 4    serve the object app of main.py
  tricornctl --help               look into a running server, and steer it

  --host ADDRESS, --port N        listen here  [127.0.0.1, 8000]
  --uds PATH                      listen on this UNIX socket instead
  --workers N|auto                worker processes; auto: one for each CPU  [1]
  --app-dir DIR, --factory        import APP from here; call it to get the app
  --env-file FILE                 environment variables for the application
  --log-level LEVEL               critical, error, warning, info, debug, trace
  --ssl-certfile, --ssl-keyfile   serve TLS
  --check-config, --print-config  check the settings; show each with its source

  --help-all, --version           all options; the version
  --help TOPIC                    one option, or: {topics}
"""


def read(words: Sequence[str]) -> str | None:
    """What the command line asks to be told about: ``""`` is the short help, ``all`` is everything; None asks for no help."""
    for at, word in enumerate(words):
        if word == "--help-all":
            return "all"
        if word in ("-h", "--help"):
            following = words[at + 1] if at + 1 < len(words) else ""
            return "" if ":" in following else following
    return None


def topics() -> dict[str, str]:
    """The title of each section of options, by the word that asks for it."""
    return {title.split()[0].lower(): title for title in sections()}


def show(topic: str, describe: Callable[[Sequence[str] | None], str]) -> str:
    """The help about ``topic``; ``describe`` makes the text about some options, or about all. Raises ConfigError."""
    if not topic:
        # Kept short, so that it fits a terminal; a test checks that all of its options exist.
        return SHORT.format(topics=_wrapped(list(topics())))
    if topic == "all":
        return describe(None)
    wanted = topic.strip("-").lower().replace("-", "_").removeprefix("tricorn_").removeprefix("no_")
    if wanted in OPTIONS and wanted != "app" and wanted not in topics():
        return describe([wanted])
    words = topics().items()
    titles = [title for word, title in words if _alike(word, wanted) or wanted in title.lower().split()]
    # Words such as timeout, proxy or ssl are no topics, but parts of options' names.
    named = [name for title in titles for name in sections()[title]] or [name for name in OPTIONS if wanted in name.split("_")]
    if not named:
        raise ConfigError(f"--help {topic}: no such option or topic; topics are {', '.join(topics())}")
    return describe(named)


def _alike(word: str, wanted: str) -> bool:
    """Whether one begins with the other: people ask for logs or limit where the topics are log and limits."""
    return word.startswith(wanted) or wanted.startswith(word)


def _wrapped(words: list[str]) -> str:
    """The words in lines that fit the place in SHORT."""
    indent = f"\n{' ' * 34}"
    return f"{', '.join(words[:2])},{indent}{', '.join(words[2:7])},{indent}{', '.join(words[7:])}"
