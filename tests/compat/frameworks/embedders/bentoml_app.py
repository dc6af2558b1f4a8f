"""BentoML: a service, which it serves in processes of its own."""

import bentoml


@bentoml.service
class Hello:
    @bentoml.api
    def greet(self, name: str = "you") -> str:
        return f"hello {name}"
