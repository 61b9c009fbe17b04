"""The application's startup and shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from django.test import SimpleTestCase, tag

from django_daphne.server import ApplicationError, LifespanFailure
from django_daphne.server.asgi.lifespan import Lifespan
from tests.support.memory import ManualLoop

LOGGER = "django_daphne.server"
STARTED = {"type": "lifespan.startup.complete"}
STOPPED = {"type": "lifespan.shutdown.complete"}
# Seconds; for what is meant to time out, and for what must not.
SHORT, LONG = 0.2, 20.0


def application(*messages: dict[str, Any], events: list[str] | None = None) -> Callable[..., Any]:
    """Return an application that answers each event with the next of ``messages``."""

    async def run(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            event = await receive()
            if events is not None:
                events.append(event["type"])
            await send(message)

    return run


async def deaf(scope: Any, receive: Any, send: Any) -> None:
    """Raise as Django's handler does for what it does not know."""
    raise ValueError("Django can only handle ASGI/HTTP connections, not lifespan.")


class LifespanTestCase(SimpleTestCase):
    """Tests on a loop that turns by hand."""

    def setUp(self):
        self.loop = ManualLoop()
        self.addCleanup(self.loop.close)

    def make(self, app: Any, mode: str = "auto", timeout: float | None = LONG) -> Lifespan:
        """Return a lifespan that is not started yet."""

        async def make() -> Lifespan:
            return Lifespan(app, mode, timeout)

        return self.loop.run(make())

    def started(self, app: Any, mode: str = "auto") -> Lifespan:
        """Return a lifespan whose application has started, or is served without."""
        lifespan = self.make(app, mode)
        self.loop.run(lifespan.startup())
        return lifespan

    def failure(self, app: Any, mode: str = "auto", timeout: float = LONG) -> str:
        """Return why an application does not start."""
        with self.assertRaises(LifespanFailure) as caught:
            self.loop.run(self.make(app, mode, timeout).startup())
        return str(caught.exception)


@tag("loop")
class ConversationTests(LifespanTestCase):
    """An application that knows lifespan."""

    def test_order(self):
        """The application is told to start once and to stop once."""
        events: list[str] = []
        lifespan = self.started(application(STARTED, STOPPED, events=events), "on")
        self.loop.settle()
        self.assertEqual(events, ["lifespan.startup"])
        self.loop.run(lifespan.shutdown())
        self.loop.run(lifespan.shutdown())
        self.assertEqual(events, ["lifespan.startup", "lifespan.shutdown"])

    def test_scope(self):
        """The application's scope says what it is, and nothing more."""
        scopes: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scopes.append(scope)
            await application(STARTED, STOPPED)(scope, receive, send)

        self.started(app)
        asgi = {"version": "3.0", "spec_version": "2.0"}
        self.assertEqual(scopes, [{"type": "lifespan", "asgi": asgi, "state": {}}])

    def test_state(self):
        """The application leaves something for its requests."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope["state"]["pool"] = "pool"
            await application(STARTED, STOPPED)(scope, receive, send)

        lifespan = self.make(app)
        self.assertIsNone(lifespan.state)
        self.loop.run(lifespan.startup())
        self.assertEqual(lifespan.state, {"pool": "pool"})

    def test_off(self):
        """The operator wants no lifespan; the application is not called."""
        events: list[str] = []
        lifespan = self.started(application(STARTED, events=events), "off")
        self.loop.run(lifespan.shutdown())
        self.assertEqual((events, lifespan.state), ([], None))

    def test_wrong_message(self):
        """The application sends what is not asked for and is told what is."""
        errors: list[BaseException] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            for message in (STOPPED, {"type": "http.response.start"}, {}):
                try:
                    await send(message)
                except ValueError as error:
                    errors.append(error)
            await application(STARTED)(scope, receive, send)
            with self.assertRaisesRegex(ApplicationError, "RUNNING"):
                await send(STARTED)

        self.started(app)
        self.loop.settle()
        self.assertEqual(len(errors), 3)
        self.assertIn("STARTING", str(errors[0]))
        self.assertIn("lifespan.startup.complete", str(errors[0]))


@tag("loop")
class StartupTests(LifespanTestCase):
    """An application that does not start, or does not know how to."""

    def test_failed(self):
        """The application says that it cannot start, and why, in every mode."""
        failed = {"type": "lifespan.startup.failed", "message": "no database"}
        for mode in ("auto", "on"):
            self.assertIn("no database", self.failure(application(failed), mode))

    def test_failed_without_reason(self):
        """The application says only that it cannot start."""
        message = {"type": "lifespan.startup.failed"}
        self.assertIn("no reason", self.failure(application(message)))

    def test_unknown_to_django(self):
        """Django's handler knows no lifespan and is served without, silently."""
        with self.assertNoLogs(LOGGER, "INFO"):
            lifespan = self.started(deaf)
            self.loop.run(lifespan.shutdown())
        self.assertIsNone(lifespan.state)

    def test_unknown_but_demanded(self):
        """The operator demands lifespan of an application that does not know it."""
        self.assertIn("ValueError: Django can only", self.failure(deaf, "on"))

    def test_returns(self):
        """The application returns at once: as good as not knowing lifespan."""
        with self.assertNoLogs(LOGGER, "INFO"):
            self.started(application())
        self.assertIn("without completing", self.failure(application(), "on"))

    def test_raises_after_asking(self):
        """The application asks for the event and then fails: served, but worth a warning."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            raise RuntimeError("no database")

        with self.assertLogs(LOGGER, "WARNING") as logs:
            self.started(app)
        self.assertIn("no database", logs.output[0])
        self.assertIn("no database", self.failure(app, "on"))

    def test_exits(self):
        """The application exits while it starts, which ends the start and not the process."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            raise SystemExit(3)

        self.assertIn("SystemExit: 3", self.failure(app))

    def test_timeout(self):
        """The application does not start in time and is cancelled."""
        cancelled: list[bool] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

        self.assertIn("lifespan_timeout", self.failure(app, timeout=SHORT))
        self.loop.settle()
        self.assertEqual(cancelled, [True])


@tag("loop")
class ShutdownTests(LifespanTestCase):
    """An application that does not stop as it should; the server stops all the same."""

    def stopped(self, app: Any) -> str:
        """Return what is logged when an application stops."""
        with self.assertLogs(LOGGER, "ERROR") as logs:
            lifespan = self.started(app)
            self.loop.run(lifespan.shutdown())
        return "\n".join(logs.output)

    def test_failed(self):
        """The application says that it could not stop, and why."""
        message = {"type": "lifespan.shutdown.failed", "message": "lost two jobs"}
        self.assertIn("lost two jobs", self.stopped(application(STARTED, message)))

    def test_raises(self):
        """The application raises while it stops."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await application(STARTED)(scope, receive, send)
            await receive()
            raise RuntimeError("disk full")

        self.assertIn("disk full", self.stopped(app))

    def test_dies_early(self):
        """The application raises long before it is told to stop; then there is nothing to tell."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await application(STARTED)(scope, receive, send)
            for _ in range(5):
                await asyncio.sleep(0)
            raise RuntimeError("worker died")

        self.assertEqual(self.stopped(app).count("RuntimeError: worker died"), 1)

    def test_timeout(self):
        """The application does not stop in time; one line says so."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await application(STARTED)(scope, receive, send)
            await receive()
            await asyncio.Event().wait()

        lifespan = self.make(app, timeout=SHORT)
        self.loop.run(lifespan.startup())
        with self.assertLogs(LOGGER, "ERROR") as logs:
            self.loop.run(lifespan.shutdown())
        self.assertIn("did not stop within 0.2 s", logs.output[0])

    def test_returned(self):
        """The application has returned after its start and hears of nothing more."""
        lifespan = self.started(application(STARTED))
        self.loop.settle()
        with self.assertNoLogs(LOGGER, "WARNING"):
            self.loop.run(lifespan.shutdown())
