"""Make the database, and collect the static files: python -m library.prepare.

There are ten books, and a reader who is logged in: ``BENCHMARK_SESSION`` is the key of the session.
"""

from __future__ import annotations

import os
from datetime import timedelta

import django
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone


def main() -> None:
    """Fill the folder that the environment names."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "library.settings")
    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)

    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.auth.models import User
    from django.contrib.sessions.models import Session

    user = User.objects.create(username="reader", password="!")
    Session.objects.create(
        session_key=os.environ["BENCHMARK_SESSION"],
        session_data=Session.get_session_store_class()().encode(
            {
                SESSION_KEY: str(user.pk),
                BACKEND_SESSION_KEY: settings.AUTHENTICATION_BACKENDS[0],
                HASH_SESSION_KEY: user.get_session_auth_hash(),
            }
        ),
        expire_date=timezone.now() + timedelta(days=1),
    )

    from .models import Book

    Book.objects.bulk_create(
        Book(title=f"Title {n}", author=f"Author {n}", year=2000 + n) for n in range(10)
    )


if __name__ == "__main__":
    main()
