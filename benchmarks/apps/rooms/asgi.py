"""The project for servers of ASGI."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rooms.settings")
# Before anything is imported that needs the apps.
django = get_asgi_application()

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402

from .consumers import Room  # noqa: E402

application = ProtocolTypeRouter(
    {"http": django, "websocket": URLRouter([path("", Room.as_asgi())])}
)
