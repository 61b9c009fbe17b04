"""No more than Channels needs, with its channel layer in the memory of the process.

``BENCHMARK_HANDLER`` is the value of ``DJANGO_HANDLER``; without one the project does not know
``django_daphne``, as under any other server.
"""

from __future__ import annotations

import os

_handler = os.environ.get("BENCHMARK_HANDLER", "")

SECRET_KEY = "known to everybody, for there is nothing to keep"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["channels"]
ROOT_URLCONF = "rooms.urls"
USE_TZ = True
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

if _handler:
    INSTALLED_APPS.insert(0, "django_daphne")
    DAPHNE = {"DJANGO_HANDLER": _handler}
