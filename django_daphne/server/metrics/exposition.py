"""What Prometheus is answered, and the address where it asks.

The answers come from a thread with an event loop of its own: whatever hangs in the process or in
its workers, it goes on, and that is when it matters. Who asks is bounded in number, size and time.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ..bound_socket import BoundSocket, describe_address
from ..config import ListenConfig
from ..exceptions import ConfigurationError, ListenError
from ..sockets import bind
from .board import Board, Totals
from .families import LAYOUT, Family, Kind
from .recorder import PageRecorder

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

logger = logging.getLogger("django_daphne.server")

PATHS: Final = ("/metrics", "/")
# Connections at the same time; with more the oldest is cut off.
_MAX_OPEN: Final = 8
# Seconds for a request and its answer.
_TIME: Final = 5.0
# Bytes of a request.
_MAX_HEAD: Final = 8192
_TIME_TO_END: Final = 3.0

WSGI: TypeAlias = Callable[[dict[str, Any], Callable[..., object]], Iterable[bytes]]


class Exposition:
    """Answers Prometheus with what a board says, on listening sockets, in a thread."""

    def __init__(self, board: Board, sockets: Sequence[BoundSocket]) -> None:
        """Take sockets, to be closed by it. Raises ConfigurationError without prometheus-client."""
        self._answer = make_application(board)
        self._sockets = list(sockets)
        self.addresses = [each.address for each in sockets if each.address is not None]
        self._open: dict[asyncio.StreamWriter, None] = {}  # the oldest first
        self._loop = asyncio.SelectorEventLoop()
        self._ending = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="django-daphne-metrics", daemon=True)

    def start(self) -> None:
        """Begin to answer. ``close`` it at the end."""
        self._thread.start()
        for address in self.addresses:
            logger.info("Metrics on http://%s%s", describe_address(*address), PATHS[0])

    def close(self) -> None:
        """Answer no more, and close the sockets."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ending.set)
            self._thread.join(_TIME_TO_END)
        elif not self._loop.is_closed():
            self._loop.close()
        for each in self._sockets:
            each.close()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        servers = [
            await asyncio.start_server(self._talk, sock=each.socket, limit=_MAX_HEAD)
            for each in self._sockets
        ]
        await self._ending.wait()
        for server in servers:
            server.close()
        for writer in self._open:
            writer.transport.abort()
        # Their ends, and those of their transports.
        if talks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(talks, timeout=_TIME_TO_END)
        await asyncio.sleep(0)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and close."""
        while len(self._open) >= _MAX_OPEN:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.transport.abort()
        self._open[writer] = None
        try:
            async with asyncio.timeout(_TIME):
                try:
                    answer = self._respond(await reader.readuntil(b"\r\n\r\n"))
                except asyncio.LimitOverrunError:
                    answer = make_response("431 Request Header Fields Too Large")
                writer.write(answer)
                await writer.drain()
                writer.write_eof()
                await reader.read()  # until it closes: closing first could cut the answer off
        except (TimeoutError, OSError, EOFError, ValueError):
            pass  # a client that is slow, or left, or sends on
        except Exception:
            logger.exception("Internal error while answering for metrics")
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()

    def _respond(self, head: bytes) -> bytes:
        """Return the answer to a request."""
        line, *fields = head.decode("latin-1").split("\r\n")
        words = line.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return make_response("400 Bad Request")
        path, _, query = words[1].partition("?")
        if path not in PATHS:
            return make_response("404 Not Found", b"Metrics are at /metrics\n")
        environ = {"REQUEST_METHOD": words[0], "PATH_INFO": path, "QUERY_STRING": query}
        for field in fields:
            name, _, value = field.partition(":")
            if name.lower() in ("accept", "accept-encoding"):
                environ[f"HTTP_{name.upper().replace('-', '_')}"] = value.strip()
        started: list[Any] = []
        body = b"".join(self._answer(environ, lambda *parts: started.extend(parts)))
        return make_response(started[0], body, started[1])


def make_response(status: str, body: bytes = b"", fields: Sequence[tuple[str, str]] = ()) -> bytes:
    """Return the bytes of a response behind which the connection is closed."""
    lines = [
        f"HTTP/1.1 {status}",
        *(f"{name}: {value}" for name, value in fields),
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


def make_application(board: Board) -> WSGI:
    """Return prometheus-client's WSGI application for a board.

    Raises ConfigurationError when the package is not there.
    """
    try:
        from prometheus_client import CollectorRegistry, make_wsgi_app
    except ImportError:
        raise ConfigurationError(
            "--metrics-bind: the package prometheus-client is not installed. Expected:"
            " pip install 'django-daphne[metrics]'."
        ) from None
    registry = CollectorRegistry()
    registry.register(make_collector(board))
    application: WSGI = make_wsgi_app(registry)
    return application


def make_collector(board: Board) -> Collector:
    """Return what gives prometheus-client the samples of a board."""
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector

    class BoardCollector(Collector):
        """The families, with the sums of the moment."""

        def collect(self) -> Iterator[Metric]:
            """Yield each family."""
            totals = board.read()
            for family in LAYOUT.families:
                yield make_metric(family, totals)

        def describe(self) -> Iterator[Metric]:
            """Yield each family without samples."""
            return map(make_empty, LAYOUT.families)

    def make_empty(family: Family) -> Metric:
        # The text formats put the suffix of counters back.
        name = family.name.removesuffix("_total")
        return Metric(name, family.help, family.kind.prometheus_type)

    def make_metric(family: Family, totals: Totals) -> Metric:
        metric = make_empty(family)
        for suffix, labels, value in find_samples(family, totals):
            metric.add_sample(family.name + suffix, labels, value)
        return metric

    return BoardCollector()


Sample: TypeAlias = tuple[str, dict[str, str], float]


def find_samples(family: Family, totals: Totals) -> Iterator[Sample]:
    """Yield suffix, labels and value of each sample of a family."""
    place = LAYOUT.place(family)
    match family.kind:
        case Kind.COUNTER | Kind.GAUGE:
            for values, index in LAYOUT.slots(family):
                if totals.counts[index] or not family.is_sparse:
                    yield "", dict(zip(family.labels, values, strict=True)), totals.counts[index]
        case Kind.TOTAL:
            yield "", {}, totals.seconds[place.second]
        case Kind.AGE:
            yield "", {}, totals.silence
        case Kind.HELD:
            for reason, count in totals.restarts.items():
                yield "", {family.labels[0]: reason}, count
        case Kind.HELD_GAUGE:
            yield "", {}, totals.workers
        case Kind.HISTOGRAM:
            bounds = [*map(repr, map(float, family.buckets)), "+Inf"]
            counts = totals.counts[place.count : place.count + len(bounds)]
            for bound, count in zip(bounds, accumulate(counts), strict=True):
                yield "_bucket", {"le": bound}, count
            yield "_count", {}, sum(counts)
            yield "_sum", {}, totals.seconds[place.second]


def bind_metrics(address: str) -> list[BoundSocket]:
    """Return sockets for an address of the option's form; raise ListenError."""
    try:
        return bind(ListenConfig(bind=(address,)))
    except ListenError as error:
        raise ListenError(f"--metrics-bind: {error}", error.errno) from None


@contextmanager
def exposed(sockets: Sequence[BoundSocket]) -> Iterator[Board]:
    """Answer on listening sockets while the block runs, with what is on the board that it gets.

    Raises ConfigurationError without prometheus-client. The sockets are closed in any case.
    """
    board = Board()
    try:
        exposition = Exposition(board, sockets)
    except ConfigurationError:
        for each in sockets:
            each.close()
        raise
    try:
        exposition.start()
        yield board
    finally:
        exposition.close()
        board.close()


@contextmanager
def exposed_alone(address: str) -> Iterator[PageRecorder]:
    """Answer for the one process that serves; give its recorder.

    Raises ConfigurationError or ListenError.
    """
    with exposed(bind_metrics(address)) as board:
        board.set_workers(1)
        yield PageRecorder(board.add())
