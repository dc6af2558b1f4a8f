"""A Django project in one file, served over ASGI."""

import asyncio
import os

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(
    SECRET_KEY="only for tests",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    LOGGING_CONFIG=None,
)
django.setup()


async def index(request):
    return HttpResponse(str(os.getpid()), content_type="text/plain")


async def slow(request):
    await asyncio.sleep(0.5)
    return HttpResponse("slow ends")


async def echo(request):
    return HttpResponse(request.body, content_type=request.content_type)


urlpatterns = [path("", index), path("pid", index), path("echo", echo), path("slow", slow)]
app = get_asgi_application()
