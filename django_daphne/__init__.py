"""Serve Django and any other ASGI application over HTTP."""

__version__ = "0.1.0"
