"""``manage.py runserver`` on Tricorn: the project's ASGI application, with ``--reload`` and static files."""

from __future__ import annotations

import sys
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management.commands.runserver import Command as DjangosOwn

from ....embedding.run import run


class Command(DjangosOwn):  # type: ignore[misc]  # Django has no types
    """Django's own options, as far as they have a meaning here."""

    help = "Serve the project on Tricorn, for development."

    def add_arguments(self, parser: Any) -> None:
        """Also those that ``django.contrib.staticfiles`` adds."""
        super().add_arguments(parser)
        parser.add_argument("--nostatic", action="store_false", dest="use_static", help="Do not serve static files.")
        parser.add_argument("--insecure", action="store_true", dest="insecure", help="Serve static files without DEBUG, too.")

    def run(self, **options: Any) -> None:
        """Check the project as Django does, then serve until Ctrl-C."""
        if not options["skip_checks"]:
            self.stdout.write("Performing system checks...\n\n")
            self.check(display_num_errors=True)
        self.check_migrations()
        has_static = apps.is_installed("django.contrib.staticfiles") and options["use_static"]
        with_static = has_static and (settings.DEBUG or options["insecure"])
        maker = "make_app_with_static" if with_static else "make_app"
        run(
            f"tricorn.django.asgi:{maker}",
            factory=True,
            host=self.addr.strip("[]"),
            port=int(self.port),
            reload=options["use_reloader"],
            # Django keeps templates in memory.
            reload_includes=["*.html"],
        )
        sys.exit(0)
