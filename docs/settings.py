"""Write docs/settings.md from Config, the one home of every option:  python docs/settings.py > docs/settings.md"""

from tricorn.config import options as config
from tricorn.config.sections import by_subject

INTRODUCTION = """# Settings

*Written from `src/config.py` by `docs/settings.py`; change the options there.*

Each option can be given on the command line, in the environment, or in a file. The command line wins over the environment, and
that over the file. `tricorn --print-config` shows every value that holds, and where it comes from.

- In the environment the name begins with `TRICORN_`: `--port` is `TRICORN_PORT`. If that is not set, uvicorn's variable of that
  name (`UVICORN_PORT`) counts, and then what stands in the table. A switch takes `true` or `false`.
- In a file, in [TOML](https://toml.io), the key is the option's name with dashes or underscores: `timeout-keep-alive = 2.5`.
  What may be given several times is a list. The file is the one that `--config` names, or else the table `[tool.tricorn]` of
  `pyproject.toml` in the current directory. It is read anew on every reload (HUP).
"""
TABLE = """| option | variables | default | what it is |
|---|---|---|---|"""


def flag_of(name: str) -> str:
    flag = config.flag(name)
    if config.OPTIONS[name].worded:
        return f"`{flag}` `true`/`false`"
    if config.scalar_type(name) is not bool:
        return f"`{flag}`"
    return f"`{flag}`" if config.DEFAULTS[name] is False else f"`{flag}` `--no-{flag[2:]}`"


def default_of(name: str) -> str:
    default, unit = config.DEFAULTS[name], config.OPTIONS[name].unit
    if isinstance(default, tuple):
        default = " ".join(default)
    if isinstance(default, bool):
        return "on" if default else "off"
    if default in (None, ""):
        return ""
    return f"`{default}` {unit}" if unit else f"`{default}`"


def row(name: str) -> str:
    known = config.OPTIONS[name]
    variables = " ".join(f"`{variable}`" for variable in known.env)
    choices = f" One of {', '.join(f'`{choice}`' for choice in known.choices)}." if known.choices else ""
    default = "required" if name == "app" else default_of(name)
    unit = f" In {known.unit}." if known.unit and not default else ""
    return f"| {flag_of(name)} | {variables} | {default} | {known.help}{choices}{unit} |"


def page() -> str:
    parts = [INTRODUCTION]
    for title, names in by_subject(config.OPTIONS).items():
        parts.append("\n".join([f"## {title}\n", TABLE, *(row(name) for name in names)]) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(page(), end="")
