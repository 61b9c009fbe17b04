"""Addresses of the WebSockets."""

from channels.auth import AuthMiddlewareStack
from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import path

from pages.consumers import ChatConsumer, echo

websocket_urlpatterns = [
    # A script on any page of any site can open these, and the browser sends the cookies along. So
    # what heeds them has to look at the origin first; the echo heeds nothing.
    path("ws/chat", AllowedHostsOriginValidator(AuthMiddlewareStack(ChatConsumer.as_asgi()))),
    path("ws/echo", echo),  # type: ignore[arg-type]  # no view, but what URLRouter calls
]
