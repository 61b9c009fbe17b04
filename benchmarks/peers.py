"""The servers to compare: what to install, how to start them, which versions to name.

Every server runs one worker process on uvloop where it can, with the fastest HTTP parser it
offers, without an access log, and quiet below warnings; uvicorn also with the faster of its
implementations of WebSocket, and once more with the parser that has HTTP/2. TLS is each server's
own, by its flags. Servers of WSGI run Django only: with eight threads where there is no default,
and once more with the single one that a single core asks for. All else is as its makers left it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from environment import ROOT
from kinds.base import Scenario, Transport
from tls import CERTIFICATE_FILES

OURS = "django-daphne"


@dataclass(frozen=True)
class Peer:
    """Describe one server.

    `arguments` follow the interpreter, for each transport that the server has; `{port}` and
    `{application}` stand for what a run fills in, other placeholders for what a scenario prepared.
    `requirements` are pip's; this project itself is always installed, from its checkout.
    `distributions` are the packages whose versions belong in a report, the server first.
    `handler` is the value of `DJANGO_HANDLER` for a Django project; without one the project does
    not have our app. `only_django` leaves the other scenarios out. `from_checkout` is for modules
    that are nowhere else. `leaves_out` has patterns of scenarios in which the server fails, with
    the reason that the report gives; the first pattern that fits counts, and "" is no reason.
    `patience` are arguments that let 10,000 connections stay open, for a minute between two
    requests.
    """

    name: str
    arguments: Mapping[Transport, tuple[str, ...]]
    requirements: tuple[str, ...]
    distributions: tuple[str, ...]
    wsgi: bool = False
    handler: str = ""
    only_django: bool = False
    from_checkout: bool = False
    leaves_out: Mapping[str, str] = field(default_factory=dict)
    patience: tuple[str, ...] = ()

    def reason_to_leave_out(self, scenario: Scenario) -> str | None:
        """Return why this server, which has what it takes, cannot serve a scenario; or None."""
        reasons = (why for names, why in self.leaves_out.items() if fnmatch(scenario.name, names))
        return next(reasons, None) or None

    def application(self, scenario: Scenario) -> str | None:
        """Return the application of a scenario that this server serves, or None."""
        if scenario.transport not in self.arguments:
            return None
        application = scenario.application
        if self.only_django and not application.is_django:
            return None
        return (application.wsgi or None) if self.wsgi else application.asgi

    def variables(self) -> dict[str, str]:
        """Return the environment variables that a Django project, or the server, goes by."""
        variables = {"BENCHMARK_HANDLER": self.handler} if self.handler else {}
        return variables | {"PYTHONPATH": str(ROOT)} if self.from_checkout else variables

    def command(
        self,
        python: Path,
        scenario: Scenario,
        application: str,
        port: int,
        prepared: Mapping[str, str],
    ) -> list[str]:
        """Return the argument list that serves `application` on 127.0.0.1:`port`."""
        values = {**prepared, "port": str(port), "application": application}
        return [str(python), *(part.format_map(values) for part in self._words(scenario))]

    def shown(self, scenario: Scenario) -> str:
        """Return the command for a reader, with its placeholders in capitals."""
        values = {name: name for name in CERTIFICATE_FILES}
        values |= {"port": "PORT", "application": "MODULE:APP"}
        shown = (part.format_map(values) for part in self._words(scenario))
        command = " ".join(("python", *shown))
        return f"{command} (Django with DJANGO_HANDLER {self.handler})" if self.handler else command

    def _words(self, scenario: Scenario) -> tuple[str, ...]:
        """Return what follows the interpreter in a scenario."""
        words = self.arguments[scenario.transport]
        return (*words, *self.patience) if scenario.patient else words


def _peer(
    name: str,
    arguments: str,
    requirements: str = "",
    distributions: str = "",
    *,
    package: str = "",
    tcp: str | None = "",
    tls: str | None = None,
    http2: str | None = None,
    wsgi: bool = False,
    handler: str = "",
    only_django: bool = False,
    from_checkout: bool = False,
    leaves_out: Mapping[str, str] | None = None,
    patience: str = "",
) -> Peer:
    """Return the peer that these words, separated by spaces, describe; named like its package.

    What a transport needs takes the place of `{transport}`; None is for one that the server lacks.
    """
    transports: dict[Transport, str | None] = {"tcp": tcp, "tls": tls, "http2": http2}
    return Peer(
        name,
        {
            transport: tuple(arguments.replace("{transport}", words).split())
            for transport, words in transports.items()
            if words is not None
        },
        tuple(requirements.split()),
        (package or name, *distributions.split()),
        wsgi=wsgi,
        handler=handler,
        only_django=only_django,
        from_checkout=from_checkout,
        leaves_out=leaves_out or {},
        patience=tuple(patience.split()),
    )


_OURS = "-b 127.0.0.1 -p {port} -v 0 {transport} {application}"
_OUR_LIBRARIES = "twisted uvloop httptools autobahn hpack"
# Our server with HTTP/2 as h2 would have it, from the tests, which a distribution may be without.
_H2_MODULE = "tests.support.h2_server"
_UVICORN = (
    "--host 127.0.0.1 --port {port} --loop uvloop --ws websockets-sansio --no-access-log"
    " --log-level warning {transport} {application}"
)
_GRANIAN_WSGI = (
    "-m granian --host 127.0.0.1 --port {port} --workers 1 --interface wsgi"
    " --no-access-log --log-level warning {application}"
)

# The flags of servers that agree about them.
_CERTFILE = "--certfile {CERTIFICATE} --keyfile {KEY}"
_SSL_CERTFILE = "--ssl-certfile {CERTIFICATE} --ssl-keyfile {KEY}"
_ENDPOINT = "-e ssl:{port}:interface=127.0.0.1:certKey={CERTIFICATE}:privateKey={KEY}"
_SSL_CERTIFICATE = "--ssl-certificate {CERTIFICATE} --ssl-keyfile {KEY}"


_H2_PEERS = (
    _peer(
        f"{OURS}-h2",
        f"-m {_H2_MODULE} {_OURS}",
        distributions=f"{_OUR_LIBRARIES} h2",
        package=OURS,
        tcp=None,
        http2=_CERTFILE,
        from_checkout=True,
    ),
)
_HAS_H2 = ROOT.joinpath(*_H2_MODULE.split(".")).with_suffix(".py").is_file()

PEERS = {
    peer.name: peer
    for peer in (
        _peer(
            OURS,
            f"-m django_daphne {_OURS}",
            distributions=_OUR_LIBRARIES,
            tls=_CERTFILE,
            http2=_CERTFILE,
            handler="threaded",
            patience="--keep-alive-timeout 60",
        ),
        _peer(
            f"{OURS}-stock",
            f"-m django_daphne {_OURS}",
            distributions=_OUR_LIBRARIES,
            package=OURS,
            handler="stock",
            only_django=True,
        ),
        *(_H2_PEERS if _HAS_H2 else ()),
        _peer(
            "uvicorn",
            f"-m uvicorn --http httptools {_UVICORN}",
            "uvicorn uvloop httptools websockets",
            "uvloop httptools websockets",
            tls=_SSL_CERTFILE,
            patience="--timeout-keep-alive 60",
        ),
        _peer(
            "uvicorn-zttp",
            f"-m uvicorn --http zttp {_UVICORN}",
            "uvicorn uvloop zttp websockets",
            "uvloop zttp websockets",
            package="uvicorn",
            tls=_SSL_CERTFILE,
            http2=f"--http2 {_SSL_CERTFILE}",
            patience="--timeout-keep-alive 60",
        ),
        _peer(
            "daphne",
            "-m daphne {transport} -v 0 {application}",
            "daphne twisted[http2]",
            "twisted autobahn h2",
            tcp="-b 127.0.0.1 -p {port}",
            tls=_ENDPOINT,
            http2=_ENDPOINT,
        ),
        _peer(
            "hypercorn",
            "-m hypercorn --bind 127.0.0.1:{port} --workers 1 --worker-class uvloop"
            " --log-level warning {transport} {application}",
            "hypercorn uvloop",
            "uvloop h11 h2",
            tls=_CERTFILE,
            http2=_CERTFILE,
            patience="--keep-alive 60",
        ),
        _peer(
            "gunicorn",
            # The control socket would be one more thread, and a file in the home directory.
            "-m gunicorn --bind 127.0.0.1:{port} --workers 1 --worker-class asgi"
            " --asgi-loop uvloop --http-parser fast --no-control-socket --log-level warning"
            " {transport} {application}",
            "gunicorn[fast,http2] uvloop",
            "uvloop gunicorn_h1c h2",
            tls=_CERTFILE,
            http2=f"{_CERTFILE} --http-protocols h2,h1",
            leaves_out={
                "django-start": "",  # which asks once
                "django-*": "leaves the second request of a connection to Django unanswered",
            },
            patience="--keep-alive 60",
        ),
        _peer(
            "granian",
            "-m granian --host 127.0.0.1 --port {port} --workers 1 --interface asgi"
            " --loop uvloop --no-access-log --log-level warning {transport} {application}",
            "granian uvloop",
            "uvloop",
            tls=_SSL_CERTIFICATE,
            http2=_SSL_CERTIFICATE,
            # Without the second it serves 1024 connections, and leaves all others waiting.
            patience="--http1-header-read-timeout 60000 --backpressure 20000",
        ),
        _peer(
            "gunicorn-gthread",
            "-m gunicorn --bind 127.0.0.1:{port} --workers 1 --worker-class gthread --threads 8"
            " --no-control-socket --log-level warning {application}",
            "gunicorn",
            package="gunicorn",
            wsgi=True,
        ),
        _peer("granian-wsgi", _GRANIAN_WSGI, "granian", package="granian", wsgi=True),
        _peer(
            "granian-wsgi-1",
            f"{_GRANIAN_WSGI} --blocking-threads 1",
            "granian",
            package="granian",
            wsgi=True,
        ),
    )
}
