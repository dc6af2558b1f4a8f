"""Tricorn: a process supervisor and ASGI server."""

__version__ = "0.1.0"
