"""The project's ASGI application, as ``runserver`` serves it."""

from __future__ import annotations

from typing import Any


def make_app() -> Any:
    """The application that ``settings.ASGI_APPLICATION`` names, or Django's own."""
    import django
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.utils.module_loading import import_string

    django.setup(set_prefix=False)
    name = getattr(settings, "ASGI_APPLICATION", None)
    return import_string(name) if name else get_asgi_application()


def make_app_with_static() -> Any:
    """The same, and the files of ``django.contrib.staticfiles`` before it."""
    app = make_app()
    from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

    return ASGIStaticFilesHandler(app)
