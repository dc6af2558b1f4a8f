"""Write docs/settings.md from Config, the one home of every option:  python docs/settings.py > docs/settings.md"""

from tricorn import config

INTRODUCTION = """# Settings

*Written from `src/config.py` by `docs/settings.py`; change the options there.*

Each option can be given on the command line or in the environment. The command line wins; of several variables the first that
is set counts. A switch takes `true` or `false` in its variable.

| option | variable | default | what it is |
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
    variables = " ".join(f"`{variable}`" for variable in (f"TRICORN_{name.upper()}", *known.env))
    choices = f" One of {', '.join(f'`{choice}`' for choice in known.choices)}." if known.choices else ""
    default = "required" if name == "app" else default_of(name)
    unit = f" In {known.unit}." if known.unit and not default else ""
    return f"| {flag_of(name)} | {variables} | {default} | {known.help}{choices}{unit} |"


def page() -> str:
    return "\n".join([INTRODUCTION, *(row(name) for name in config.OPTIONS)]) + "\n"


if __name__ == "__main__":
    print(page(), end="")
