"""What all live servers have in common, and the test cases that have one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

from django.core.exceptions import ImproperlyConfigured
from django.test import TransactionTestCase
from django.utils.functional import classproperty

from .project import allowing, make_certificate


class BaseLiveServer(ABC):
    """The project on a server for tests, as a context manager or by calls."""

    def __init__(
        self,
        *,
        host: str = "localhost",
        port: int = 0,
        allowed_host: str | None = None,
        https: bool = False,
        serve_static: bool = True,
        application: Any = None,
        server_options: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Take what the test cases have as attributes, with the same meaning."""
        self.host = host
        self.is_secure = https
        self._wanted_port = port
        self._allowed_host = host if allowed_host is None else allowed_host
        self._serve_static = serve_static
        self._application = application
        self._options = server_options
        self._port = 0
        self._ca: Path | None = None
        self._running = ExitStack()

    def start(self) -> None:
        """Start the application and accept connections; after an error nothing is left open."""
        with ExitStack() as stack:
            stack.enter_context(allowing(self._allowed_host))
            certificate = None
            if self.is_secure:
                self._ca, certificate = stack.enter_context(make_certificate(self.host))
            self._port = self._serve(stack, certificate)
            self._running = stack.pop_all()

    @abstractmethod
    def _serve(self, stack: ExitStack, certificate: Path | None) -> int:
        """Start what serves, leave its end to the stack, and return the port."""

    def stop(self) -> None:
        """Stop the server; what still runs is cancelled."""
        self._running.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Return the address for HTTP as a URL without a path."""
        return self._url("http")

    @property
    def ws_url(self) -> str:
        """Return the address for WebSockets as a URL without a path."""
        return self._url("ws")

    def _url(self, scheme: str) -> str:
        if not self._port:
            raise RuntimeError("The live server has not started yet.")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}{'s' if self.is_secure else ''}://{host}:{self._port}"

    @property
    def ca(self) -> Path:
        """Return the path of the PEM file with the authority that clients have to trust."""
        if self._ca is None:
            raise ImproperlyConfigured("The live server speaks no TLS; expected https = True.")
        return self._ca

    def __str__(self) -> str:
        return self.url

    def __add__(self, path: str) -> str:
        return f"{self}{path}"


class ServedTestCase(TransactionTestCase):
    """Tests with a live server, of whichever kind."""

    # What the server binds to, and the host in its URL.
    host: str = "localhost"
    # 0 for any that is free.
    port: int = 0
    # With a certificate by an authority that is made for the class: see live_server_ca.
    https: bool = False
    # Static files from the finders, and uploads from MEDIA_ROOT.
    serve_static: bool = True
    # An ASGI application or its dotted name; None for the project's.
    application: Any = None
    # Values of the configuration by field name, which win over the project's.
    server_options: ClassVar[Mapping[str, Any]] = {}

    live_server: ClassVar[BaseLiveServer]
    _server_class: ClassVar[type[BaseLiveServer]]

    @classmethod
    def setUpClass(cls) -> None:
        """Start the server, once the settings of the class are in force."""
        super().setUpClass()
        cls.live_server = cls._make_server()
        cls.enterClassContext(cls.live_server)

    @classmethod
    def _make_server(cls, **options: Any) -> BaseLiveServer:
        return cls._server_class(
            host=cls.host,
            port=cls.port,
            allowed_host=cls.allowed_host,
            https=cls.https,
            serve_static=cls.serve_static,
            application=cls.application,
            server_options=cls.server_options,
            **options,
        )

    @classproperty
    def allowed_host(cls) -> str:  # noqa: N805
        """Return what is added to ALLOWED_HOSTS."""
        return cls.host

    @classproperty
    def live_server_url(cls) -> str:  # noqa: N805
        """Return the address for HTTP as a URL without a path."""
        return cls.live_server.url

    @classproperty
    def live_server_ws_url(cls) -> str:  # noqa: N805
        """Return the address for WebSockets as a URL without a path."""
        return cls.live_server.ws_url

    @classproperty
    def live_server_ca(cls) -> Path:  # noqa: N805
        """Return the path of the PEM file with the authority that clients have to trust."""
        return cls.live_server.ca
