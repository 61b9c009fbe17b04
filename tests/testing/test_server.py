"""Servers in a thread, without Django."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import unittest
from contextvars import ContextVar
from typing import Any
from urllib.request import ProxyHandler, build_opener

from django_daphne.server import ServerConfig
from django_daphne.testing import ThreadServer
from tests.support.processes import ROOT
from tests.support.server import PATIENCE, call

seen: ContextVar[str] = ContextVar("seen", default="nothing")

FORK = """
import os, warnings
from urllib.request import ProxyHandler, build_opener
from django_daphne.server import ServerConfig
from django_daphne.testing import ThreadServer

warnings.simplefilter("ignore")  # a fork beside threads, and the reactor of the parent

async def application(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"%d" % os.getpid()})

def ask():
    with ThreadServer(application, ServerConfig().replace(port=0)) as server:
        with build_opener(ProxyHandler({})).open(server.url, timeout=20) as answer:
            assert int(answer.read()) == os.getpid()

ask()
child = os.fork()
ask()
if child:
    assert os.waitpid(child, 0)[1] == 0
    print("both")
else:
    os._exit(0)
"""


async def greet(scope: Any, receive: Any, send: Any) -> None:
    """Answer with what the context has."""
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": seen.get().encode()})


class ThreadTests(unittest.TestCase):
    """One thread for all servers of a process."""

    def test_context(self):
        """The author of a test has something in the context, which is not the server's."""
        seen.set("something")
        with ThreadServer(greet, ServerConfig().replace(port=0)) as server:
            self.assertEqual(server.url, f"http://127.0.0.1:{server.port}")
            with build_opener(ProxyHandler({})).open(server.url, timeout=PATIENCE) as answer:
                self.assertEqual(answer.read(), b"nothing")

    def test_never_starts(self):
        """The application does not start in time: what waits for it is cancelled."""
        cancelled = []

        async def wait() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

        with self.assertRaises(TimeoutError):
            call(wait(), 0.01)
        call(asyncio.sleep(0))
        self.assertEqual(cancelled, [True])

    @unittest.skipUnless(hasattr(os, "fork"), "there is no fork")
    def test_fork(self):
        """The runner of parallel tests forks a process that has served: both serve on."""
        done = subprocess.run(
            [sys.executable, "-c", FORK],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual((done.returncode, done.stdout), (0, "both\n"), done.stderr)
