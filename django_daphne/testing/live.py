"""A live server in a thread of the test process."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..conf import using_config
from ..signals import send_started, send_stopping
from .base import BaseLiveServer, ServedTestCase
from .databases import ServerConnections
from .project import (
    Wrapper,
    current_handlers,
    make_application,
    make_config,
    serve_static_files,
)
from .server import ThreadServer


class LiveServer(BaseLiveServer):
    """The project on a server in a thread of this process, as a context manager or by calls.

    It is started and stopped in the thread that runs the tests.
    """

    def __init__(self, *, static_wrapper: Wrapper | None = serve_static_files, **options: Any):
        """Take what ``LiveServerTestCase`` has as attributes, with the same meaning.

        ``static_wrapper`` puts the static files before the application.
        """
        super().__init__(**options)
        self._wrapper = static_wrapper if self._serve_static else None

    def _serve(self, stack: ExitStack, certificate: Path | None) -> int:
        connections = stack.enter_context(ServerConnections())
        resolved = make_config(
            self.host,
            self._wanted_port,
            self._options,
            certificate=certificate,
            is_shared=connections.are_shared,
        )
        stack.enter_context(using_config(resolved))
        stack.enter_context(current_handlers())
        application = stack.enter_context(make_application(self._application, self._wrapper))
        server = ThreadServer(
            application, resolved.config, on_started=send_started, on_stopping=send_stopping
        )
        return stack.enter_context(server).port


class LiveServerTestCase(ServedTestCase):
    """Tests with the project on a server in a thread of the test process.

    Mocks and settings of a test reach the server, and so does a SQLite database in memory.
    """

    _server_class = LiveServer

    @classmethod
    def setUpClass(cls) -> None:
        """Start the server, once the settings of the class are in force."""
        cls.enterClassContext(current_handlers())  # around what changes the settings
        super().setUpClass()
