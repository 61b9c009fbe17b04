"""A database with its tables and users, made by the process that serves it."""

from __future__ import annotations

from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import connections

from .stack import PARTS

USERS = ("ann", "bob", "cleo", "dan")


def create() -> None:
    """Make the tables, a superuser "root", four users and what the parts want."""
    call_command("migrate", run_syncdb=True, verbosity=0)
    User.objects.create_superuser("root", "root@example.org", "secret")
    for name in USERS:
        User.objects.create_user(name, f"{name}@example.org", f"{name}'s")
        Group.objects.create(name=f"friends of {name}")
    for part in PARTS.values():
        part.fill()
    connections.close_all()
