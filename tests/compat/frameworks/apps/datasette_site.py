"""Datasette as an application: it opens its databases in its lifespan."""

from datasette.app import Datasette

app = Datasette(memory=True).app()
