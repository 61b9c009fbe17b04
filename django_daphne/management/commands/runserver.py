"""``runserver`` over ASGI: Django's command with another server below it."""

from __future__ import annotations

import errno
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from datetime import datetime
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.core.management.commands.runserver import Command as DjangoRunserver
from django.utils.autoreload import autoreload_started

from ... import __version__
from ...asgi import ApplicationNotFound, load_application
from ...autoreload import watch_included
from ...conf import DevelopmentConfig, DjangoConfig
from ...handlers import make_static_files_handler, prepare
from ...server import (
    AccessRecord,
    BoundSocket,
    HTTPConfig,
    LimitsConfig,
    ProcessConfig,
    ServerConfig,
    TimeoutConfig,
    WebSocketConfig,
    handling,
)
from .. import console, https, inheritance
from ..development_server import DevelopmentServer, bind_address, development_config
from ..keeper import Keeper, debug_hosts
from ..options import add_server_arguments, get_command_config
from ..serving import INTERRUPT_TIMEOUT, serve_and_watch

_GROUPS = (
    *(HTTPConfig, LimitsConfig, TimeoutConfig, WebSocketConfig, ProcessConfig),
    *(DjangoConfig, DevelopmentConfig),
)
# What Django says, too, where a port cannot be had.
_BIND_ERRORS: Final = {
    errno.EACCES: "You don't have permission to access that port.",
    errno.EADDRINUSE: "That port is already in use.",
    errno.EADDRNOTAVAIL: "That IP address can't be assigned to.",
}


def _next_runserver() -> type[DjangoRunserver]:
    """Return the runserver that would be found without this app: staticfiles', or whitenoise's.

    It is extended and not replaced, so that what other apps add to runserver stays.
    """
    names = [config.name for config in apps.get_app_configs()]
    start = names.index("django_daphne") + 1 if "django_daphne" in names else 0
    for name in names[start:]:
        module = f"{name}.management.commands.runserver"
        # daphne's command would bring daphne's server along.
        if name != "daphne" and find_spec(f"{name}.management") and find_spec(module):
            command = getattr(import_module(module), "Command", None)
            if isinstance(command, type) and issubclass(command, DjangoRunserver):
                return command
    return DjangoRunserver


class Command(_next_runserver()):  # type: ignore[misc]  # known only when the apps are
    """Serve the project for development.

    ``get_application`` and ``log_action`` are for subclasses to change.
    """

    help = "Starts a lightweight web server for development, over ASGI."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the server's flags to those of the command below."""
        super().add_arguments(parser)
        parser.add_argument(
            "--noasgi",
            action="store_false",
            dest="use_asgi",
            default=True,
            help="Run the old WSGI-based runserver rather than the ASGI-based one.",
        )
        https.add_arguments(parser)
        add_server_arguments(parser, _GROUPS)

    def run(self, **options: Any) -> None:
        """Serve in this process; or keep the sockets for those below, of which one serves."""
        tls = https.take_flags(options)
        if not options["use_asgi"]:
            https.refuse_without_asgi(tls)
            autoreload_started.connect(watch_included)
            super().run(**options)
            return
        # What the settings say of it is meant for production.
        options.setdefault("graceful_timeout", INTERRUPT_TIMEOUT)
        config = development_config(get_command_config(options).config)
        heritage = inheritance.get()
        if heritage is None:
            tls = https.tls_values(tls, self.addr, self.stdout)
            config = config.replace(**tls)
        if not options["use_reloader"]:
            self._serve(config=config, **options)
        elif heritage is None:
            sys.exit(self._keep(config, tls))
        else:
            inherited = heritage.take_over()
            config = heritage.configure(config)
            serve_and_watch(self._serve, config=config, inherited=inherited, **options)

    def _serve(
        self,
        *,
        config: ServerConfig,
        inherited: list[BoundSocket] | None = None,
        on_loaded: Callable[[], object] = lambda: None,
        **options: Any,
    ) -> None:
        """Check the project and serve it, as Django does."""
        if config.tls.certfile:
            self.protocol = "https"
        attributes = {
            "config": config,
            "inherited": inherited,
            "on_loaded": staticmethod(on_loaded),
            "options": {"log_access": self.log_access},
        }
        self.server_cls = type("CommandServer", (DevelopmentServer,), attributes)
        self.inner_run(None, **options)

    def _keep(self, config: ServerConfig, tls: Mapping[str, Any]) -> int:
        """Bind, and see that one process after another serves; return the exit status."""
        try:
            sockets = bind_address(config, self.addr, int(self.port), self.use_ipv6)
        except OSError as error:
            self.stderr.write(f"Error: {_BIND_ERRORS.get(error.errno or 0, error)}")
            return 1
        return Keeper(sockets, values=tls, hosts=debug_hosts()).run()

    def get_handler(self, *args: Any, **options: Any) -> Any:
        """Return what is served: the ASGI application, or with --noasgi the WSGI one."""
        if not options["use_asgi"]:
            return super().get_handler(*args, **options)
        try:
            application = prepare(self.get_application(options))
        except ApplicationNotFound as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            # Django would take it for trouble with the port, and say no more than its text.
            raise RuntimeError(f"The application cannot be loaded: {error}") from error
        # Without the staticfiles app there is no such option.
        serves_static = options.get("use_static_handler", False) and (
            settings.DEBUG or options.get("insecure_serving", False)
        )
        if not serves_static:
            return application
        try:
            return make_static_files_handler(application)
        except ImproperlyConfigured as error:  # there is no STATIC_URL
            raise CommandError(str(error)) from error

    def get_application(self, options: Mapping[str, Any]) -> Any:
        """Return the project's ASGI application."""
        return load_application()

    def on_bind(self, server_port: int) -> None:
        """Print the banner, with the port that was really bound."""
        if self.server_cls is None or not issubclass(self.server_cls, DevelopmentServer):
            super().on_bind(server_port)
            self.stdout.flush()
            return
        quit_command = "CTRL-BREAK" if sys.platform == "win32" else "CONTROL-C"
        host = f"[{self.addr}]" if ":" in self.addr else self.addr
        host = "0.0.0.0" if host == "0" else host  # noqa: S104 - what Django's "0" stands for
        now = datetime.now().strftime("%B %d, %Y - %X")  # noqa: DTZ005 - for a person, here
        self.stdout.write(
            f"{now}\n"
            f"Django version {self.get_version()}, using settings {settings.SETTINGS_MODULE!r}\n"
            f"Starting ASGI/Daphne version {__version__} development server"
            f" at {self.protocol}://{host}:{server_port}/\n"
            f"Quit the server with {quit_command}."
        )
        self.stdout.flush()

    def log_access(self, record: AccessRecord) -> None:
        """Take a finished request, or an event of a WebSocket, from the server."""
        with handling(record.trace):
            if record.event == "complete":
                self.log_action("http", "complete", console.http_details(record))
            else:
                self.log_action("websocket", record.event, console.websocket_details(record))

    def log_action(self, protocol: str, action: str, details: Mapping[str, Any]) -> None:
        """Log what happened: ("http", "complete"), or ("websocket", an event of `AccessRecord`).

        Both have path, client, status, time_taken (seconds) and http_version ("1.1", "2"); a
        request has method and size (bytes of body), a WebSocket code, None before its end.
        """
        if (protocol, action) == ("http", "complete"):
            console.log_http(details, self.style)
        elif protocol == "websocket":
            console.log_websocket(action, details, self.style)
