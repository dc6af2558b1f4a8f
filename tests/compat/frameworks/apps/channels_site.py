"""Django Channels: a consumer that echoes, beside a view of Django's."""

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(
    SECRET_KEY="only for tests",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["channels"],
    LOGGING_CONFIG=None,
)
django.setup()


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=text_data, bytes_data=bytes_data)


urlpatterns = [path("", lambda request: HttpResponse("hello from channels"))]
app = ProtocolTypeRouter({"http": get_asgi_application(), "websocket": URLRouter([path("echo", Echo.as_asgi())])})
