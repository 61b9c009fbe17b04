"""The example project: settings, addresses and the ASGI application."""
