"""Scripts with which shells complete ``tricornctl``. It prints one when the environment asks for it, as click's commands do."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping

from .reference import Usage, usages


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """The script for ``bash_source``, ``zsh_source`` or ``fish_source``. Raises KeyError for another shell."""
    return SHELLS[shell](usages(parser))


def _words(usage: Usage) -> list[str]:
    """What may follow: options, and the choices of positional arguments."""
    return [word for one in usage.arguments for word in (one.flags or one.choices) if word != "-h"]


def _bash(known: Mapping[str, Usage]) -> str:
    names = [name for name in known if name]
    cases = [f"    {name}) words={shlex.quote(' '.join(_words(known[name])))} ;;" for name in names]
    first = shlex.quote(" ".join([*names, *_words(known[""])]))
    return "\n".join(
        [
            "_tricornctl() {",
            "  local words='' word command=''",
            '  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
            '    case "$word" in',
            f"    {'|'.join(names)}) command=$word; break ;;",
            "    esac",
            "  done",
            '  case "$command" in',
            f"    '') words={first} ;;",
            *cases,
            "  esac",
            '  COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))',
            "}",
            "complete -F _tricornctl tricornctl",
        ]
    )


def _zsh(known: Mapping[str, Usage]) -> str:
    # zsh reads bash's scripts.
    return "\n".join(["autoload -U +X bashcompinit && bashcompinit", _bash(known)])


def _fish(known: Mapping[str, Usage]) -> str:
    names = " ".join(name for name in known if name)
    lines = ["complete -c tricornctl -f"]
    for name, usage in known.items():
        when = f"__fish_seen_subcommand_from {name}" if name else f"not __fish_seen_subcommand_from {names}"
        if name:
            is_first = shlex.quote(f"not __fish_seen_subcommand_from {names}")
            lines.append(f"complete -c tricornctl -n {is_first} -a {name} -d {shlex.quote(usage.help)}")
        for one in usage.arguments:
            long = [flag.removeprefix("--") for flag in one.flags if flag.startswith("--")]
            what = f"-l {long[0]}{' -r' if one.value else ''}" if long else f"-a {shlex.quote(' '.join(one.choices))}"
            if long or one.choices:
                lines.append(f"complete -c tricornctl -n {shlex.quote(when)} {what} -d {shlex.quote(one.help)}")
    return "\n".join(lines)


SHELLS = {"bash_source": _bash, "zsh_source": _zsh, "fish_source": _fish}
