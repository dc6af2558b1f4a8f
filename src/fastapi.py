"""FastAPI's own command on Tricorn: ``python -m tricorn.fastapi dev``, ``python -m tricorn.fastapi run --workers 4``."""

from __future__ import annotations

import importlib
import sys

from .errors import EXIT_USAGE


def main() -> int:
    """Run the command ``fastapi`` with Tricorn in uvicorn's place; returns the exit code."""
    sys.modules["uvicorn"] = importlib.import_module("tricorn")
    try:
        from fastapi_cli.cli import main as fastapi
    except ModuleNotFoundError:
        print("Error: the command fastapi is not installed (pip install fastapi-cli)", file=sys.stderr)
        return EXIT_USAGE
    sys.argv[0] = "fastapi"
    fastapi()
    return 0


if __name__ == "__main__":
    sys.exit(main())
