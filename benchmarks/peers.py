"""The servers to compare: what to install, how to start them, which versions to name.

Every server runs one worker process on uvloop where it can, with the fastest HTTP parser it
offers, without an access log, and quiet below warnings; uvicorn also with the faster of its
implementations of WebSocket. Servers of WSGI run Django only: with eight threads where there is no
default, and once more with the single one that a single core asks for. All else is as its makers
left it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scenarios import DjangoRequests, Scenario

OURS = "django-daphne"


@dataclass(frozen=True)
class Peer:
    """Describe one server.

    `arguments` follow the interpreter; `{port}` and `{application}` stand for what a run fills in.
    `requirements` are pip's; this project itself is always installed, from its checkout.
    `distributions` are the packages whose versions belong in a report, the server first.
    `handler` is the value of `DJANGO_HANDLER` for a Django project; without one the project does
    not have our app. `only_django` leaves the other scenarios out.
    """

    name: str
    arguments: tuple[str, ...]
    requirements: tuple[str, ...]
    distributions: tuple[str, ...]
    wsgi: bool = False
    handler: str = ""
    only_django: bool = False

    def application(self, scenario: Scenario) -> str | None:
        """Return the application of a scenario that this server serves, or None."""
        if isinstance(scenario, DjangoRequests):
            return scenario.wsgi_application if self.wsgi else scenario.application
        return None if self.wsgi or self.only_django else scenario.application

    def variables(self) -> dict[str, str]:
        """Return the environment variables that a Django project goes by."""
        return {"BENCHMARK_HANDLER": self.handler} if self.handler else {}

    def command(self, python: Path, application: str, port: int) -> list[str]:
        """Return the argument list that serves `application` on 127.0.0.1:`port`."""
        return [
            str(python),
            *(part.format(port=port, application=application) for part in self.arguments),
        ]

    def shown(self) -> str:
        """Return the command for a reader, with its placeholders in capitals."""
        shown = (part.format(port="PORT", application="MODULE:APP") for part in self.arguments)
        command = " ".join(("python", *shown))
        return f"{command} (Django with DJANGO_HANDLER {self.handler})" if self.handler else command


def _peer(
    name: str,
    arguments: str,
    requirements: str = "",
    distributions: str = "",
    *,
    package: str = "",
    wsgi: bool = False,
    handler: str = "",
    only_django: bool = False,
) -> Peer:
    """Return the peer that these words, separated by spaces, describe; named like its package."""
    return Peer(
        name,
        tuple(arguments.split()),
        tuple(requirements.split()),
        (package or name, *distributions.split()),
        wsgi=wsgi,
        handler=handler,
        only_django=only_django,
    )


_OURS = "-m django_daphne -b 127.0.0.1 -p {port} -v 0 {application}"
_OUR_LIBRARIES = "twisted uvloop httptools autobahn"
_GRANIAN_WSGI = (
    "-m granian --host 127.0.0.1 --port {port} --workers 1 --interface wsgi"
    " --no-access-log --log-level warning {application}"
)


PEERS = {
    peer.name: peer
    for peer in (
        _peer(OURS, _OURS, distributions=_OUR_LIBRARIES, handler="threaded"),
        _peer(
            f"{OURS}-stock",
            _OURS,
            distributions=_OUR_LIBRARIES,
            package=OURS,
            handler="stock",
            only_django=True,
        ),
        _peer(
            "uvicorn",
            "-m uvicorn --host 127.0.0.1 --port {port} --http httptools --loop uvloop"
            " --ws websockets-sansio --no-access-log --log-level warning {application}",
            "uvicorn uvloop httptools websockets",
            "uvloop httptools websockets",
        ),
        _peer(
            "daphne",
            "-m daphne -b 127.0.0.1 -p {port} -v 0 {application}",
            "daphne",
            "twisted autobahn",
        ),
        _peer(
            "hypercorn",
            "-m hypercorn --bind 127.0.0.1:{port} --workers 1 --worker-class uvloop"
            " --log-level warning {application}",
            "hypercorn uvloop",
            "uvloop h11",
        ),
        _peer(
            "gunicorn",
            # The control socket would be one more thread, and a file in the home directory.
            "-m gunicorn --bind 127.0.0.1:{port} --workers 1 --worker-class asgi"
            " --asgi-loop uvloop --http-parser fast --no-control-socket --log-level warning"
            " {application}",
            "gunicorn[fast] uvloop",
            "uvloop gunicorn_h1c",
        ),
        _peer(
            "granian",
            "-m granian --host 127.0.0.1 --port {port} --workers 1 --interface asgi"
            " --loop uvloop --no-access-log --log-level warning {application}",
            "granian uvloop",
            "uvloop",
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
