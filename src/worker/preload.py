"""``--preload``: the template of one generation, a process that has imported code and forks that generation's workers.

With ``--preload app`` it imports the application. If nothing does harm (see ``harm.py``), workers are forked from it.
Otherwise, and with ``--preload packages``, this first process only finds out which installed packages the application imports,
and which of them do harm. It tells the supervisor, and ends. The next one imports those packages without the harmful ones, and
never the application's own modules: each worker imports the rest itself. What a process has imported can't be undone, so each
attempt is a process of its own.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import socket
import sys
import traceback
from collections.abc import Collection, Sequence
from typing import Any

from ..config.frozen import Value
from ..config.options import Config
from ..errors import AppError
from ..hooks import ON_TEMPLATE_LOADED, ON_WORKER_FORKED, Template, Worker
from ..ipc import channel
from ..logs import orders
from . import hooks, kept, modules
from .forking import ANSWERS, FORK, SHAPE_OF_FORK, Forks, Heritage
from .freshness import Freshness
from .harm import Witness, harms, look_around, summary
from .immortal import make_all_immortal
from .loader import locate_app, prepare_path
from .main import Birth, watch_lifeline
from .modules import is_among, is_of_package
from .routes import complete_routes

HARM, FOUND, WITHOUT, AGAIN, LOADED, STALE = "harm", "found", "without", "again", "loaded", "stale"
"""From the template: this module does this; these installed modules belong to the application; these must not be imported
beforehand; it ends, so that another can do better; it has imported so many modules, perhaps the application's, too; it is
outdated and ends."""
SAYS: channel.Table = {
    HARM: channel.Shape({"module": channel.log_line, "why": channel.log_line}),
    FOUND: channel.Shape({"names": channel.names}),
    WITHOUT: channel.Shape({"names": channel.names}),
    AGAIN: channel.Shape(),
    LOADED: channel.Shape({"modules": channel.whole, "app": channel.flag}),
    STALE: channel.Shape(),
    **ANSWERS,
}
HEARS: channel.Table = {FORK: SHAPE_OF_FORK, **orders.TABLE}
MAX_REASON = 500
"""Characters of an exception that are shown."""


class Known(Value):
    """What earlier templates of the generation have found out."""

    names: Sequence[str] | None = None
    """The installed modules to import, each behind those that it imports; None to try the application."""
    without: Collection[str] = ()
    """Modules that must not be imported beforehand."""


class Findings:
    """What importing modules beforehand does."""

    def __init__(self) -> None:
        self.harmful: dict[str, list[str]] = {}
        """Module -> what it does that workers must not share."""
        self.without: dict[str, None] = {}
        """Installed modules that do harm, or import one that does."""

    @property
    def is_clean(self) -> bool:
        """Whether workers can be forked from this process."""
        return not self.harmful and not self.without

    def blame(self, culprits: Sequence[str], what: str, otherwise: str) -> None:
        """The first of ``culprits`` does ``what``; the others import it. Without any it is ``otherwise``."""
        self.harmful.setdefault(culprits[0] if culprits else otherwise, []).append(what)
        self.without.update(dict.fromkeys(name for name in culprits if is_of_package(name)))


class Survey:
    """Imports the application of ``config`` under observation. Workers can be forked from this process if that is harmless."""

    def __init__(self, config: Config) -> None:
        self.findings = Findings()
        self._config = config
        self._name = config.app.partition(":")[0]
        self._before = look_around()
        self._witness = Witness()

    def import_app(self) -> None:
        """Import the application's module, and that of ``--hooks``."""
        with self._witness.watching():
            try:
                app = locate_app(self._config.app, self._config.app_dir)
                if self._config.preload == "app" and not self._config.factory:
                    complete_routes(app)
                if self._config.hooks is not None:
                    hooks.load(self._config)
            except BaseException as error:
                self.findings.blame([], f"fails: {reason(error)}", self._name)
        self.look()

    def look(self) -> None:
        """Find the harm that was done until now."""
        for what, harm in harms(self._before).items():
            self.findings.blame(self._witness.culprits(what), harm, self._name)

    @property
    def installed(self) -> list[str]:
        """The installed modules that are loaded now, each behind those that it imports."""
        own = self._name.partition(".")[0]
        return [name for name in self._witness.importers if is_of_package(name) and name.partition(".")[0] != own]


class PreloadTemplate:
    """The process: it imports, and forks workers as the supervisor asks."""

    def __init__(self, config: Config, generation: int, link: socket.socket, heritage: Heritage) -> None:
        self._config = config
        self._generation = generation
        self._link = link
        self._forks = Forks(config, link, heritage)
        self._freshness = Freshness()
        self._log = orders.LogOrders(link)
        self._decoder = channel.Decoder(HEARS)
        self._has_app = False

    def run(self, known: Known) -> int:
        """Import what is ``known`` to be harmless, then do what the supervisor asks until it is gone; returns the exit code."""
        # Objects that are freed among others that stay would leave holes in pages that workers share.
        gc.disable()
        prepare_path(self._config.app_dir)
        if not (self._import_app() if known.names is None else self._import_packages(known.names, known.without)):
            self._say(AGAIN)
            return 0
        for name in [*kept.names(self._config), *(["a2wsgi"] if self._config.interface == "wsgi" else [])]:
            kept.import_now(name)
        self._freshness.remember()
        gc.collect()
        make_all_immortal()
        # The garbage collector does not touch frozen objects, so workers go on sharing their pages, and collect faster.
        gc.freeze()
        self._say(LOADED, modules=len(sys.modules), app=self._has_app)
        while self._serve():
            pass
        return 0

    # ------------------------------------------------------------------------------------------------------------ import

    def _import_app(self) -> bool:
        """Import the application; returns whether workers can be forked now."""
        survey = Survey(self._config)
        survey.import_app()
        is_wanted = self._config.preload == "app"
        if is_wanted and survey.findings.is_clean:
            self._call_loaded(survey)
        if is_wanted and survey.findings.is_clean:
            self._has_app = True
            return True
        for module, things in survey.findings.harmful.items():
            if is_wanted or is_of_package(module):
                self._say(HARM, module=module, why=summary(things))
        self._tell(FOUND, survey.installed)
        self._tell(WITHOUT, survey.findings.without)
        return False

    def _call_loaded(self, survey: Survey) -> None:
        """Call the hook ``on_template_loaded``, if there is one, and look at what it did."""
        function = hooks.load(self._config).get(ON_TEMPLATE_LOADED) if self._config.hooks is not None else None
        if function is None:
            return
        try:
            function(Template(os.getpid(), self._generation))
        except (Exception, SystemExit) as error:
            hooks.tell_failure(self._config.hooks, ON_TEMPLATE_LOADED, error)
            survey.findings.blame([], f"fails: {reason(error)}", ON_TEMPLATE_LOADED)
        survey.look()

    def _import_packages(self, names: Sequence[str], without: Collection[str]) -> bool:
        """Import the installed modules ``names``, but for those in ``without``; returns whether workers can be forked now."""
        findings, before, witness = Findings(), look_around(), Witness()
        with witness.watching():
            for name in names:
                if not is_among(name, without) and name not in sys.modules:
                    try:
                        importlib.import_module(name)
                    except BaseException as error:
                        # Each worker imports it itself, and finds out whether it fails there, too.
                        hooks.logger.debug("Template: importing %s fails: %s", name, reason(error))
                    self._find_forbidden(without, witness, findings)
        for what, harm in harms(before).items():
            findings.blame(witness.culprits(what), harm, "a package")
        for module, things in findings.harmful.items():
            self._say(HARM, module=module, why=summary(things))
        self._tell(WITHOUT, findings.without)
        return findings.is_clean

    @staticmethod
    def _find_forbidden(without: Collection[str], witness: Witness, findings: Findings) -> None:
        """Find out who has imported one of ``without``, or the application's own code, which would be old some day."""
        for name in [name for name in witness.news() if is_among(name, without) or is_own(name)]:
            findings.without.update(dict.fromkeys(one for one in witness.importers[name] if is_of_package(one)))
            # The next module that imports it must be found, too. No worker is forked from this process.
            sys.modules.pop(name, None)

    # -------------------------------------------------------------------------------------------------------------- serve

    def _serve(self) -> bool:
        """Do what is asked next; returns False when nothing more will come."""
        # watch_lifeline has made the channel non-blocking.
        select.select([self._link], [], [])
        if not (data := self._log.read()):
            return False
        for message in self._decoder.feed(data):
            if self._log.obey(message):
                continue
            # The old code of an application goes with the old packages, so such a template stays as it is.
            if not self._has_app and self._freshness.is_lost:
                self._say(STALE)
                return False
            self._forks.fork(message["birth"], self._log.take(), self._begin_worker)
        return True

    def _begin_worker(self, birth: Birth) -> None:
        gc.enable()
        if self._config.hooks is None:
            return
        try:
            function = hooks.load(self._config).get(ON_WORKER_FORKED)
        except AppError:
            # The worker says so itself.
            return
        if function is not None:
            try:
                function(Worker(birth.slot, os.getpid(), birth.generation))
            except (Exception, SystemExit) as error:
                hooks.tell_failure(self._config.hooks, ON_WORKER_FORKED, error)

    def _tell(self, kind: str, names: Collection[str]) -> None:
        for piece in channel.pieces(names):
            self._say(kind, names=piece)

    def _say(self, kind: str, **details: Any) -> None:
        data = channel.encode(kind, **details)
        while data:
            try:
                data = data[self._link.send(data) :]
            except BlockingIOError:
                select.select([], [self._link], [])


def look_up_directories() -> None:
    """In the supervisor: find out where packages are installed. A template that has become another user may not be able to."""
    modules.installed_directories()


def examine(config: Config) -> str:
    """For ``--check-config``: what workers would share, and why not more, in lines for people. Imports the application."""
    survey = Survey(config)
    survey.import_app()
    found = survey.findings
    lines = [f"{module} {summary(things)}" for module, things in found.harmful.items()]
    installed = [name for name in survey.installed if not is_among(name, found.without)]
    packages = len({name.partition(".")[0] for name in installed})
    shared = f"{len(installed)} modules of {packages} installed packages"
    if config.preload == "app" and found.is_clean:
        return f"--preload app: workers share the application and {shared}."
    text = f"--preload {config.preload}: workers share {shared}"
    return "\n".join([f"{text}, because:" if config.preload == "app" else f"{text}.", *(f"  {line}" for line in lines)])


def is_own(name: str) -> bool:
    """Whether the loaded module ``name`` is the application's own."""
    file = modules.file_of(sys.modules.get(name))
    return file is not None and modules.is_developers(file)


def reason(error: BaseException) -> str:
    """An exception in one line; of an AppError, which holds a traceback, the line that says what is wrong."""
    text = str(error) if isinstance(error, AppError) else traceback.format_exception_only(error)[-1]
    return text.strip().rpartition("\n")[2][:MAX_REASON]


def main(config: Config, generation: int, link: socket.socket, heritage: Heritage, known: Known) -> int:
    """The process of the template, from fork to exit code."""
    # An import that hangs must not outlive the supervisor.
    watch_lifeline(link)
    try:
        return PreloadTemplate(config, generation, link, heritage).run(known)
    except (BrokenPipeError, ConnectionResetError):
        return 0
