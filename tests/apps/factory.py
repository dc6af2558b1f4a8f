"""An application made by a function."""

from examples.hello import app


def create_app():
    return app
