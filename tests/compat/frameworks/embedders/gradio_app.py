"""Gradio: a page with one function, which is called over its queue of server-sent events."""

import os

import gradio


def greet(name):
    return f"hello {name}"


gradio.Interface(fn=greet, inputs="text", outputs="text", api_name="greet").launch(
    server_name="127.0.0.1", server_port=int(os.environ["PORT"])
)
