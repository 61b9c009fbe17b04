"""The application, with a new database below it."""

# ruff: noqa: E402 - agents have to come before Django.

from __future__ import annotations

import os

from . import stack

os.environ["DJANGO_SETTINGS_MODULE"] = f"{__package__}.settings"
# The first to register is the last to be called: when all threads and agents are done.
stack.record_at_exit()
stack.start("first")

import django

django.setup()

from . import database

database.create()
stack.start("imported")

from django.core.asgi import get_asgi_application

application = get_asgi_application()
stack.start("built")
for part in stack.PARTS.values():
    application = part.wrap(application)
