"""Redis for a test, on a port of its own and in memory alone."""

from __future__ import annotations

import re
import shutil

from .nginx import free_port
from .processes import PATIENCE, ProcessTestCase

STARTED = re.compile(r"(?P<ready>Ready to accept connections)|Address already in use")

# Tries to find a port that is still free when Redis wants it.
ATTEMPTS = 5


class RedisTestCase(ProcessTestCase):
    """Tests that may start Redis; skipped there without it."""

    def start_redis(self, address: str = "127.0.0.1") -> str:
        """Start Redis and return its URL. At an address of a namespace it serves other machines."""
        program = shutil.which("redis-server")
        if program is None:
            self.skipTest("missing: redis-server")
        options = ["--bind", address, "--save", "", "--dir", str(self.folder)]
        if not address.startswith("127."):
            options += ["--protected-mode", "no"]
        for _ in range(ATTEMPTS):
            port = free_port()
            process = self.start_command([program, *options, "--port", str(port)])
            started = process.appears(STARTED, PATIENCE)
            if started is None:
                raise AssertionError(f"Redis does not start.\n{process}")
            if started["ready"]:
                return f"redis://{address}:{port}"
            process.kill()
        raise AssertionError(f"Each port was taken, {ATTEMPTS} times.\n{process}")
