"""Django in one file: a view, a stream from an asynchronous generator, a static file. It has no lifespan."""

import asyncio
from pathlib import Path

import django
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

settings.configure(
    SECRET_KEY="only for tests",
    DEBUG=True,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.staticfiles"],
    STATIC_URL="/static/",
    STATICFILES_DIRS=[Path(__file__).parent / "static"],
    LOGGING_CONFIG=None,
)
django.setup()
wanted = asyncio.Event()


def index(request):
    """Synchronous: Django runs it in a thread."""
    return HttpResponse("hello from django")


async def lines():
    yield "one\n"
    await wanted.wait()
    yield "two\n"


async def stream(request):
    return StreamingHttpResponse(lines(), content_type="text/plain")


async def more(request):
    wanted.set()
    return HttpResponse()


urlpatterns = [path("", index), path("stream", stream), path("more", more)]
app = ASGIStaticFilesHandler(get_asgi_application())
