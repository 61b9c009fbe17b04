"""``django-daphne`` and ``python -m django_daphne``: the command line, loaded quickly."""

import sys

from .collector import collecting_seldom


def main() -> int:
    """Run the command line; return the exit status."""
    with collecting_seldom():
        from .cli import main
    return main()


if __name__ == "__main__":
    sys.exit(main())
