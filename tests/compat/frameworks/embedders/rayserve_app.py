"""Ray Serve: its proxy serves on the running loop, in a process that Ray starts."""

import os
import threading

import ray
from fastapi import FastAPI
from ray import serve

app = FastAPI()


@serve.deployment
@serve.ingress(app)
class Hello:
    @app.get("/")
    def greet(self) -> str:
        return "hello from ray"


ray.init(num_cpus=2, include_dashboard=False)
serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
serve.run(Hello.bind())
print("ray serves", flush=True)
threading.Event().wait()
