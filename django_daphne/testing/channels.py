"""The live test case of ``channels.testing`` for projects that have Channels and not daphne."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured

from .base import BaseLiveServer
from .live import LiveServerTestCase
from .project import serve_static_files


class ChannelsLiveServerTestCase(LiveServerTestCase):
    """The class of that name in ``channels.testing``, with its attributes.

    Its server is a thread of the test process: databases may be in memory, and mocks reach it.
    """

    # A class or function that puts static files before an application; None for none of them.
    static_wrapper: Any = staticmethod(serve_static_files)
    # There is no process: whoever has a class for it is told so.
    ProtocolServerProcess: Any = None

    @classmethod
    def setUpClass(cls) -> None:
        """Start the server, once the settings of the class are in force."""
        if cls.ProtocolServerProcess is not None:
            raise ImproperlyConfigured(
                f"{cls.__qualname__}.ProtocolServerProcess is set, and there is no such process:"
                " the server is a thread. Expected server_options for the server's options,"
                " application for another application, or ProcessLiveServerTestCase."
            )
        super().setUpClass()

    @classmethod
    def _make_server(cls, **options: Any) -> BaseLiveServer:
        return super()._make_server(static_wrapper=cls.static_wrapper, **options)
