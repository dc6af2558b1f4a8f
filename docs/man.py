"""Write docs/tricorn.1, the man page, from the options of tricorn.config:  python docs/man.py > docs/tricorn.1"""

import click
from tricorn import __version__
from tricorn.cli import command
from tricorn.cli import main as cli
from tricorn.config.option import Option
from tricorn.config.options import OPTIONS, sections

HEAD = f""".TH TRICORN 1 "" "tricorn {__version__}"
.SH NAME
tricorn \\- serve an ASGI application from supervised worker processes
.SH SYNOPSIS
.B tricorn
[\\fBdev\\fR] [\\fIAPP\\fR] [\\fIOPTIONS\\fR]
.SH DESCRIPTION
APP is MODULE:ATTRIBUTE, MODULE or FILE.py. Without it, Tricorn looks for one in main.py, app.py and Django's asgi.py.
With
.B dev
it serves new code as soon as a file is saved. Times and sizes may have units: 500ms, 30s, 5m, 64KB, 10MB, 1GB.
.PP
{command.EPILOG}
"""
TAIL = """.SH SIGNALS
.TP
TERM, INT
Finish requests in flight, then stop. A second signal stops at once.
.TP
QUIT
Stop at once.
.TP
HUP
Reload settings and application without losing a request.
.TP
TTIN, TTOU
Add or remove one worker.
.TP
USR1
Reopen log files.
.SH EXIT STATUS
0 after a stop that was asked for; 1 if the system refuses something, such as an address to listen on; 2 for a wrong option,
variable or file of settings; 3 if the application can't be started; 4 if more workers crashed than --limit-crashes allows.
.SH SEE ALSO
.BR tricornctl (1)
"""


def escaped(text: str) -> str:
    """``text`` with roff's special characters escaped (man-pages(7))."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text.startswith((".", "'")) else text


def flags_of(known: Option) -> str:
    if known.is_switch:
        flags = (known.flag, known.negative_flag) if known.negative_flag else (known.flag,)
        return ", ".join(f"\\fB{escaped(flag)}\\fR" for flag in flags)
    return f"\\fB{escaped(known.flag)}\\fR \\fI{escaped(command.value_of(known))}\\fR"


def actions() -> str:
    """The section of flags that are no options, such as ``--version``."""
    built = cli.build_command()
    with click.Context(built) as context:
        rows = [one.get_help_record(context) for one in built.get_params(context) if one.name not in OPTIONS]
    entries = [f".TP\n\\fB{escaped(row[0])}\\fR\n{escaped(row[1])}\n" for row in rows if row is not None]
    return "".join([f".SH {command.ACTIONS.upper()}\n", *entries])


def page() -> str:
    parts = [HEAD]
    for title, names in sections().items():
        parts.append(f".SH {title.upper()}\n")
        shown = [OPTIONS[name] for name in names if name != "app"]
        parts += [f".TP\n{flags_of(known)}\n{escaped(command.describe(known))}\n" for known in shown]
    return "".join([*parts, actions(), TAIL])


if __name__ == "__main__":
    print(page(), end="")
