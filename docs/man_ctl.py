"""Write docs/tricornctl.1, the man page, from the command line of tricornctl:  python docs/man_ctl.py > docs/tricornctl.1"""

from man import escaped
from tricorn import __version__
from tricorn.control.main import build_parser
from tricorn.control.reference import Argument, usages

HEAD = f""".TH TRICORNCTL 1 "" "tricorn {__version__}"
.SH NAME
tricornctl \\- see what a running Tricorn does, and steer it
.SH SYNOPSIS
.B tricornctl
[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]
.SH DESCRIPTION
Talks to the supervisor of a running
.BR tricorn (1)
through its control socket; by default to the only one of this user. Options may stand before or after the command.
Root and the user that the supervisor runs as may use it.
"""
TAIL = """.SH EXIT STATUS
0 done; 1 there is no supervisor to talk to, or it went away; 2 the command line makes no sense, or several supervisors run and
none was named; 3 the order was carried out and failed, or took longer than --timeout.
.SH ENVIRONMENT
.TP
TRICORN_CONTROL_SOCKET
The control socket, if neither --socket nor --pid names a supervisor.
.SH SEE ALSO
.BR tricorn (1)
"""


def entry(argument: Argument) -> str:
    flags = ", ".join(f"\\fB{escaped(flag)}\\fR" for flag in argument.flags)
    value = f"\\fI{escaped('|'.join(argument.choices) or argument.value)}\\fR" if argument.value else ""
    return f".TP\n{' '.join(part for part in (flags, value) if part)}\n{escaped(argument.help)}\n"


def page() -> str:
    known = usages(build_parser())
    common = known.pop("")
    parts = [HEAD, ".SH OPTIONS\n", *map(entry, common.arguments), ".SH COMMANDS\n"]
    shared = {one.flags for one in common.arguments if one.flags}
    for name, usage in known.items():
        own = [one for one in usage.arguments if one.flags not in shared]
        values = "".join(f" \\fI{escaped(one.value)}\\fR" for one in own if not one.flags)
        parts.append(f".SS \\fB{escaped(name)}\\fR{values}\n{escaped(usage.help)}\n")
        parts += [entry(one) for one in own if one.flags or one.choices]
    return "".join([*parts, TAIL])


if __name__ == "__main__":
    print(page(), end="")
