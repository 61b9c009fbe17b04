"""Make the database with its ten books, and collect the static files: python -m library.prepare."""

from __future__ import annotations

import os

import django
from django.core.management import call_command


def main() -> None:
    """Fill the folder that the environment names."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "library.settings")
    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)

    from .models import Book

    Book.objects.bulk_create(
        Book(title=f"Title {n}", author=f"Author {n}", year=2000 + n) for n in range(10)
    )


if __name__ == "__main__":
    main()
