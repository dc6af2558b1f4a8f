"""Flask, which is WSGI: a view, a stream, a static file. It has no lifespan."""

import threading

from flask import Flask

app = Flask(__name__)
wanted = threading.Event()


@app.get("/")
def index():
    return "hello from flask"


@app.get("/stream")
def stream():
    def lines():
        yield "one\n"
        wanted.wait(60)
        yield "two\n"

    return lines(), {"Content-Type": "text/plain"}


@app.get("/more")
def more():
    wanted.set()
    return ""
