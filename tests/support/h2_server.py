"""The command line with h2's engine in the place of our own.

python -m tests.support.h2_server module:app --port 8000
"""

import sys

from django_daphne.cli import main

from .h2_engine import slotted

if __name__ == "__main__":
    with slotted():
        sys.exit(main())
