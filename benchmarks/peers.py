"""The servers to compare: what to install, how to start them, which versions to name.

Every server runs one worker process on uvloop where it can, with the fastest HTTP parser it
offers, without an access log, and quiet below warnings; uvicorn also with the faster of its
implementations of WebSocket. All else is as its makers left it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

OURS = "django-daphne"


@dataclass(frozen=True)
class Peer:
    """Describe one server.

    `arguments` follow the interpreter; `{port}` and `{application}` stand for what a run fills in.
    `requirements` are pip's; this project itself is always installed, from its checkout.
    `distributions` are the packages whose versions belong in a report, the server first.
    """

    name: str
    arguments: tuple[str, ...]
    requirements: tuple[str, ...]
    distributions: tuple[str, ...]

    def command(self, python: Path, application: str, port: int) -> list[str]:
        """Return the argument list that serves `application` on 127.0.0.1:`port`."""
        return [
            str(python),
            *(part.format(port=port, application=application) for part in self.arguments),
        ]

    def shown(self) -> str:
        """Return the command for a reader, with its placeholders in capitals."""
        shown = (part.format(port="PORT", application="MODULE:APP") for part in self.arguments)
        return " ".join(("python", *shown))


def _peer(name: str, arguments: str, requirements: str = "", distributions: str = "") -> Peer:
    """Return the peer that these words, separated by spaces, describe."""
    return Peer(
        name,
        tuple(arguments.split()),
        tuple(requirements.split()),
        (name, *distributions.split()),
    )


PEERS = {
    peer.name: peer
    for peer in (
        _peer(
            OURS,
            "-m django_daphne -b 127.0.0.1 -p {port} -v 0 {application}",
            distributions="twisted uvloop httptools autobahn",
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
    )
}
