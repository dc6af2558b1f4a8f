"""A Django Channels project in one file: consumers, a group, and Django's own views behind the same server."""

import django
from channels.generic.websocket import AsyncJsonWebsocketConsumer, WebsocketConsumer
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
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    LOGGING_CONFIG=None,
)
django.setup()


class Room(AsyncJsonWebsocketConsumer):
    groups = ["room"]

    async def receive_json(self, content):
        await self.channel_layer.group_send("room", {"type": "room.say", "content": content})

    async def room_say(self, event):
        await self.send_json(event["content"])


class Synchronous(WebsocketConsumer):
    """Runs in a thread."""

    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=text_data, bytes_data=bytes_data)
        if text_data == "close":
            self.close(code=4321)


urlpatterns = [path("", lambda request: HttpResponse("a view"))]
app = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter([path("room", Room.as_asgi()), path("sync", Synchronous.as_asgi())]),
    }
)
