"""A reactor that is there before the server."""

from __future__ import annotations

import importlib
import unittest

from tests.support.processes import ProcessTestCase, get

APPLICATION = """
    import sys
    {install}
    from twisted.internet import reactor

    async def application(scope, receive, send):
        assert scope["type"] == "http"
        import asyncio

        loop = asyncio.get_running_loop()
        body = str(getattr(reactor, "_asyncioEventloop", None) is loop).encode()
        await send({{"type": "http.response.start", "status": 200}})
        await send({{"type": "http.response.body", "body": body}})
"""


class InstalledReactorTests(ProcessTestCase):
    """The application's module has installed a reactor by the time the server starts."""

    def serve(self, install: str) -> tuple[str, str]:
        """Return what the application says about the reactor's loop, and the warnings."""
        self.write("app.py", APPLICATION.format(install=install))
        server = self.start_cli("-p", "0", "app:application")
        answer = get(server.wait_for_port()).text
        self.finish(server)
        warnings = [line for line in server.errors.splitlines() if "RuntimeWarning" in line]
        self.assertEqual(len(warnings), 1, server)
        self.assertIn("held by app", warnings[0])
        return answer, warnings[0]

    def test_asyncio(self):
        """The project installed an asyncio reactor, which is used with its loop."""
        answer, warning = self.serve(
            "import asyncio; from twisted.internet import asyncioreactor;"
            " asyncioreactor.install(asyncio.new_event_loop())"
        )
        self.assertEqual(answer, "True")
        self.assertIn("twisted.internet.asyncioreactor.AsyncioSelectorReactor", warning)
        self.assertIn("its event loop (asyncio)", warning)

    def test_other_kinds(self):
        """The project installed a reactor of another kind; the server runs beside it."""
        for kind, name in (("select", "SelectReactor"), ("epoll", "EPollReactor")):
            with self.subTest(kind):
                module = f"twisted.internet.{kind}reactor"
                try:
                    importlib.import_module(module)
                except ImportError:
                    raise unittest.SkipTest(f"missing: {module}") from None
                answer, warning = self.serve(f"import {module}; {module}.install()")
                self.assertEqual(answer, "False")
                self.assertIn(f"{module}.{name}", warning)
                self.assertIn("reactor of its own", warning)
