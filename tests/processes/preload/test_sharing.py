"""``--preload``: what is done so that workers go on sharing what the template has imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.harness import ROOT, environment, get
from support.shop import Shop, template_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a template needs Linux' prctl and /proc")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


CAN_BE_IMMORTAL = sys.implementation.name == "cpython" and sys.version_info[:2] in ((3, 12), (3, 13))

IMMORTAL = """
import gc, sys, weakref
from tricorn.worker.immortal import make_all_immortal

class Thing: pass

def function(): return ("a constant", ("of the code", 12345678))

thing = Thing()
thing.parts = {"list": [Thing(), "text " + str(len(sys.argv))], "tuple": (object(), 1.5)}
frozen = Thing()
gc.freeze()
later = [Thing()]
gc.freeze()
found = make_all_immortal()
after = Thing()
counts = sys.getrefcount
seen = [thing, thing.parts, thing.parts["list"], thing.parts["list"][1], thing.parts["tuple"][0], Thing, function,
    function.__code__, function.__code__.co_consts, function()[0], function()[1][0], frozen, later[0], sys.modules]
before = [counts(one) for one in seen]
more = [seen] * 3, [one for one in seen for _ in range(100)]
print(found > 1000, before == [counts(one) for one in seen], gc.get_freeze_count() > 1000)
ended = []
weakref.finalize(after, ended.append, "after")
weakref.finalize(frozen, ended.append, "frozen")
seen.clear(), more[1].clear(), more[0].clear()
del after, frozen
gc.collect()
print(ended)
"""


def test_objects_that_are_immortal_are_not_counted_and_not_destroyed() -> None:
    command = [sys.executable, "-c", IMMORTAL]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    if CAN_BE_IMMORTAL:
        assert done.stdout.splitlines() == ["True True True", "['after']"]
    else:
        assert done.stdout.splitlines() == ["False False True", "['after', 'frozen']"]


ROUTES = """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Match, Mount, Route

class Lazy(BaseRoute):
    completed_by = None

    def matches(self, scope):
        self.completed_by = self.completed_by or os.getpid()
        return Match.NONE, {}

lazy, inner, called = Lazy(), Lazy(), []

async def say(request):
    return JSONResponse([os.getpid(), lazy.completed_by, inner.completed_by, called])

class Middleware:
    def __init__(self, app): self.app = app
    async def __call__(self, scope, receive, send):
        called.append(scope["type"])
        await self.app(scope, receive, send)

app = Starlette(routes=[lazy, Mount("/mounted", routes=[inner]), Route("/{path:path}", say)])
app.add_middleware(Middleware)
"""


def test_lazy_routes_are_completed_in_the_template_and_nobody_is_called(shop: Shop) -> None:
    pytest.importorskip("starlette")
    (shop.folder / "shop.py").write_text("import os\n" + ROUTES)
    with shop.serve("--workers", "2") as server:
        template = template_of(server)
        server.wait_for_ready(2)
        pid, *said = json.loads(get(server.port).body)
        assert said == [template, template, ["lifespan", "http"]]
        assert pid != template


@pytest.mark.parametrize("fault", ["raise LookupError", "import socket; globals()['kept'] = socket.socket()"])
def test_routes_that_fail_or_do_harm_when_they_are_compared(shop: Shop, fault: str) -> None:
    pytest.importorskip("starlette")
    (shop.folder / "shop.py").write_text("import os\n" + ROUTES.replace("self.completed_by = self", f"{fault}; self", 1))
    with shop.serve("--workers", "1", "--log-level", "debug") as server:
        if "socket" in fault:
            server.wait_for_log("--preload app: shop opens a socket; each worker imports the application itself")
        else:
            server.wait_for_log("Template: completing the routes fails: LookupError")
            template_of(server)
        server.wait_for_ready(1)
        assert server.stop() == 0
