"""Write docs/tricorn.1, the man page, from Config, the one home of every option:  python docs/man.py > docs/tricorn.1"""

import click
from tricorn import __version__
from tricorn.cli import command
from tricorn.cli import main as cli
from tricorn.config import options as config
from tricorn.config.sections import by_subject

HEAD = f""".TH TRICORN 1 "" "tricorn {__version__}"
.SH NAME
tricorn \\- serve an ASGI application from supervised worker processes
.SH SYNOPSIS
.B tricorn
[\\fIOPTIONS\\fR] \\fIMODULE:ATTRIBUTE\\fR
.SH DESCRIPTION
{command.EPILOG}
"""
TAIL = """.SH SIGNALS
.TP
TERM, INT
Stop when what is in flight is finished. A second one: stop at once.
.TP
QUIT
Stop at once.
.TP
HUP
Reload settings and application; no request is lost.
.TP
TTIN, TTOU
One worker more, one fewer.
.TP
USR1
Open log files again.
.SH EXIT STATUS
0 if asked to stop; 1 if a listener can't be had or another mistake shows at run time; 2 for a bad option, variable or file of
settings; 3 if the application failed to start; 4 if --limit-crashes was exceeded.
"""


def escaped(text: str) -> str:
    """What stands for itself in roff (man-pages(7))."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text.startswith((".", "'")) else text


def flags_of(name: str) -> str:
    flag = escaped(config.flag(name))
    if config.scalar_type(name) is bool and not config.OPTIONS[name].worded:
        return f"\\fB{flag}\\fR" + ("" if config.DEFAULTS[name] is False else f", \\fB{escaped('--no-')}{flag[4:]}\\fR")
    known = config.OPTIONS[name]
    value = (
        "|".join(known.choices) or command.METAVARS[known.unit or config.scalar_type(name)]
        if not known.worded
        else "true|false"
    )
    return f"\\fB{flag}\\fR \\fI{escaped(value)}\\fR"


def actions() -> str:
    """The section of the options that no setting stands behind, such as ``--version``."""
    built = cli.build_command()
    with click.Context(built) as context:
        known = set(config.OPTIONS)
        rows = [one.get_help_record(context) for one in built.get_params(context) if one.name not in known]
    entries = [f".TP\n\\fB{escaped(row[0])}\\fR\n{escaped(row[1])}\n" for row in rows if row is not None]
    return "".join([f".SH {command.ACTIONS.upper()}\n", *entries])


def page() -> str:
    parts = [HEAD]
    for title, names in by_subject(config.OPTIONS).items():
        parts.append(f".SH {title.upper()}\n")
        parts += [f".TP\n{flags_of(name)}\n{escaped(command.describe(name))}\n" for name in names if name != "app"]
    return "".join([*parts, actions(), TAIL])


if __name__ == "__main__":
    print(page(), end="")
