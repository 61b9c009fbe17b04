"""Twisted's reactor under a server: there before it, or asked for later."""

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


LATE = """
    import asyncio, sys, threading

    def loaded():
        return any(name.partition(".")[0] == "twisted" for name in sys.modules)

    def in_thread():
        # The import, in whatever thread, finds a reactor that runs already.
        from twisted.internet import error, main, reactor, threads
        from twisted.internet.protocol import Factory

        assert reactor.running
        try:
            main.installReactor(reactor)
        except error.ReactorAlreadyInstalledError:
            pass
        else:
            raise AssertionError("another reactor may be installed")
        port = threads.blockingCallFromThread(reactor, reactor.listenTCP, 0, Factory())
        threads.blockingCallFromThread(reactor, port.stopListening)
        return threads.blockingCallFromThread(reactor, threading.get_ident)

    async def on_loop():
        from twisted.internet import reactor, task, threads

        loop = asyncio.get_running_loop()
        assert reactor.running and reactor._asyncioEventloop is loop
        await task.deferLater(reactor, 0, bool).asFuture(loop)
        return await threads.deferToThread(threading.get_ident).asFuture(loop)

    async def application(scope, receive, send):
        assert scope["type"] == "http"
        before, own = loaded(), threading.get_ident()
        if scope["path"] == "/thread":
            result = await asyncio.to_thread(in_thread) == own
        elif scope["path"] == "/loop":
            result = await on_loop() != own
        else:
            result = None
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": f"{before} {result}".encode()})
"""


class LateReactorTests(ProcessTestCase):
    """The server has no use for Twisted; a project may have, and finds a reactor that runs."""

    def answers(self, *paths: str, **variables: str) -> list[str]:
        """Return what the application says on these paths, one after another."""
        self.write("app.py", LATE)
        server = self.start_cli("-p", "0", "app:application", **variables)
        port = server.wait_for_port()
        texts = [get(port, path).text for path in paths]
        self.finish(server)
        self.assertNotRegex(server.errors, "Traceback|WARNING|ERROR")
        return texts

    def test_not_loaded(self):
        """A server on an address of its own does not import Twisted."""
        self.assertEqual(self.answers("/", "/"), ["False None"] * 2)

    def test_on_the_loop(self):
        """Code on the loop imports the reactor: timers and threads work at once."""
        self.assertEqual(self.answers("/loop", "/thread"), ["False True", "True True"])

    def test_in_a_thread(self):
        """Code in a thread imports it, and calls what the loop's thread must do."""
        self.assertEqual(self.answers("/thread", "/loop"), ["False True", "True True"])
