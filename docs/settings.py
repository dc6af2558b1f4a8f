"""Write docs/settings.md from the options of tricorn.config:  python docs/settings.py > docs/settings.md"""

from tricorn.config.option import Option
from tricorn.config.options import OPTIONS, sections

INTRODUCTION = """<!-- Written from src/config/options.py by docs/settings.py: change the options there. -->

# Settings

Each option can be set on the command line, in the environment, or in a file. The command line wins over the environment, and
the environment wins over the file. `tricorn --print-config` shows every option's value and where it comes from.

- In the environment the name begins with `TRICORN_`: `--port` is `TRICORN_PORT`. If that is not set, Tricorn reads uvicorn's
  variable (`UVICORN_PORT`), and then the variables in the table. A switch takes `true` or `false`.
- In a file, in [TOML](https://toml.io), the key is the option's name with dashes or underscores: `timeout-keep-alive = 2.5`.
  An option that may be given several times is a list. `--config` names the file; by default it is the table `[tool.tricorn]` of
  `pyproject.toml` in the current directory. Every reload (HUP) reads it again.
- A time may have a unit: `500ms`, `30s`, `5m`, `2h`, `1d`. So may a size: `64KB`, `10MB`, `1GB`, where 1 KB is 1024 bytes.
  Without a unit they are in the unit that stands beside the default.
- `tricorn --help port` explains one option in the terminal, and `tricorn --help log` those of one subject.

The name of each option is a link to its row.
"""
TABLE = """| option | variables | default | what it is |
|---|---|---|---|"""


def flag_of(known: Option) -> str:
    """The option's flags; the first is a link to itself, so that others can link to the row."""
    anchor = known.name.replace("_", "-")
    first = f'<a id="{anchor}"></a>[`{known.flag}`](#{anchor})'
    if known.worded:
        return f"{first} `true`/`false`"
    return f"{first} `{known.negative_flag}`" if known.is_switch and known.negative_flag else first


def default_of(known: Option) -> str:
    default = " ".join(known.default) if known.is_repeatable else known.default
    if isinstance(default, bool):
        return "on" if default else "off"
    if default in (None, ""):
        return ""
    return f"`{default}` {known.unit}" if known.unit else f"`{default}`"


def row(known: Option) -> str:
    variables = " ".join(f"`{variable}`" for variable in known.env)
    choices = f" One of {', '.join(f'`{choice}`' for choice in known.choices)}." if known.choices else ""
    default = default_of(known)
    unit = f" In {known.unit}." if known.unit and not default else ""
    return f"| {flag_of(known)} | {variables} | {default} | {known.help}{choices}{unit} |"


def page() -> str:
    parts = [INTRODUCTION]
    for title, names in sections().items():
        parts.append("\n".join([f"## {title}\n", TABLE, *(row(OPTIONS[name]) for name in names)]) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(page(), end="")
