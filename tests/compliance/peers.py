"""Compare what several implementations make of the corpus.

    python -m tests.compliance.peers [expected] [h11] [httptools] [nginx] [HOST:PORT ...]

``expected`` is what the table says; h11 and httptools only parse; nginx is started here, from a
configuration of its own, on a free port of the loopback interface, and ended again; HOST:PORT is
any running server whose application answers 200 to everything. Without arguments the first four
are asked. The cases whose result depends on the application or on options are left out.

After the table come the cases in which one of them serves more than nginx does: each is either a
fault or has its reason in `REASONS`. The exit status is 1 when a server lacks a reason.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h11
import httptools

from . import Case, ResponseReader, SocketChannel
from .http11_corpus import CASES

Statuses = tuple[int, ...]
Ask = Callable[[Case], Statuses]

# Why the table serves what nginx refuses, by the beginning of the case's name.
REASONS = {
    "method_lower_case": "nginx takes upper-case letters, dash and underscore only",
    "method_21": "nginx takes upper-case letters, dash and underscore only",
    "asterisk_options": "nginx knows no OPTIONS for the whole server",
    "length_Content": "nginx does not strip HTAB, which is optional white space (RFC 9110 5.6.3)",
    "coding_09": "nginx does not strip HTAB, which is optional white space (RFC 9110 5.6.3)",
    "limit_field_fits": "nginx has a lower limit, 8 KiB a line",
    "keep_not_closed": "nginx looks for the letters of close anywhere in Connection",
}

# These read requests for a server to judge, so what they let through proves nothing.
LIBRARIES = ("h11", "httptools")

# A server that has said nothing for so long waits for more; seconds.
QUIET = 0.5
START_TIMEOUT = 10.0
PARALLEL = 32

# The inner server sees nothing of the client, so that only the outer one judges the request.
NGINX = """
daemon off; master_process off; pid {home}/pid; error_log {home}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {home}/1; proxy_temp_path {home}/2; fastcgi_temp_path {home}/3;
    uwsgi_temp_path {home}/4; scgi_temp_path {home}/5;
    server {{ listen unix:{home}/inner; location / {{ return 200; }} }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://unix:{home}/inner:/; proxy_method GET;
            proxy_pass_request_headers off; proxy_pass_request_body off;
            proxy_set_header Content-Length "";
        }}
    }}
}}
"""


def ask_expected(case: Case) -> Statuses:
    """Return the final statuses that the table asks for."""
    return tuple(status for status in case.responses if status >= 200)


def ask_h11(case: Case) -> Statuses:
    """Return 200 for each request that h11 reads to its end, and its hint for a refusal."""
    parser = h11.Connection(h11.SERVER)
    statuses: list[int] = []
    parser.receive_data(case.wire + case.rest)
    while True:
        try:
            event = parser.next_event()
        except h11.RemoteProtocolError as error:
            return (*statuses, error.error_status_hint)
        if isinstance(event, h11.EndOfMessage):
            statuses.append(200)
            # A success would turn CONNECT into a tunnel.
            parser.send(h11.Response(status_code=404, headers=[("Content-Length", "0")]))
            parser.send(h11.EndOfMessage())
            if parser.our_state is not h11.DONE:
                return tuple(statuses)
            parser.start_next_cycle()
        elif event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
            return tuple(statuses)


class _Counter:
    """Counts the messages that httptools reads to their end."""

    def __init__(self) -> None:
        self.statuses: list[int] = []

    def on_message_complete(self) -> None:
        """Note one more; called by httptools."""
        self.statuses.append(200)


def ask_httptools(case: Case) -> Statuses:
    """Return 200 for each request that httptools reads, 101 for an upgrade, 400 for a fault."""
    counter = _Counter()
    parser = httptools.HttpRequestParser(counter)
    try:
        parser.feed_data(case.wire + case.rest)
    except httptools.HttpParserUpgrade:
        return (*counter.statuses, 101)
    except httptools.HttpParserError:
        return (*counter.statuses, 400)
    return tuple(counter.statuses)


def ask_server(address: tuple[str, int], case: Case) -> Statuses:
    """Return the final statuses of a running server; 0 stands for bytes that are no response."""
    statuses: list[int] = []
    method = "HEAD" if case.wire.startswith(b"HEAD ") else "GET"
    rest = case.rest
    with socket.create_connection(address, QUIET) as sock:
        channel = SocketChannel(sock)
        reader = ResponseReader(channel)
        try:
            channel.send(case.wire)
            while True:
                answered = False
                for response in reader.read(method):
                    answered = response.status >= 200
                    statuses += [response.status] * answered
                    if case.rest_follows(response.status):
                        channel.send(rest)
                        rest = b""
                if not answered:
                    break
                method = "GET"
        except h11.RemoteProtocolError:
            statuses.append(0)
        except TimeoutError:
            pass
    return tuple(statuses)


@contextlib.contextmanager
def running_nginx() -> Iterator[tuple[str, int]]:
    """Start nginx with a configuration of its own, give its address, and end it."""
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory())
        with socket.create_server(("127.0.0.1", 0)) as free:
            port: int = free.getsockname()[1]
        configuration = Path(home, "nginx.conf")
        configuration.write_text(NGINX.format(home=home, port=port))
        command = ["nginx", "-p", home, "-e", f"{home}/error.log", "-c", str(configuration)]
        process = subprocess.Popen(command)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        wait_for(("127.0.0.1", port), process)
        yield "127.0.0.1", port


def wait_for(address: tuple[str, int], process: subprocess.Popen[bytes]) -> None:
    """Return as soon as somebody listens; raise RuntimeError when the process has ended before."""
    end = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(address, QUIET).close()
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    raise RuntimeError(f"nginx does not serve (exit status {process.poll()})")


def find(target: str, stack: contextlib.ExitStack) -> Ask:
    """Return the function that asks ``target``; what it needs to run is left to ``stack``."""
    parsers: dict[str, Ask] = {
        "expected": ask_expected,
        "h11": ask_h11,
        "httptools": ask_httptools,
    }
    if target in parsers:
        return parsers[target]
    if target == "nginx":
        address = stack.enter_context(running_nginx())
    else:
        host, _, port = target.rpartition(":")
        address = (host.strip("[]"), int(port))
    return lambda case: ask_server(address, case)


def compare(targets: Iterable[str], cases: list[Case]) -> dict[str, list[Statuses]]:
    """Return what each target answers to each case, in their order."""
    with contextlib.ExitStack() as stack:
        asks = {target: find(target, stack) for target in targets}
        pool = stack.enter_context(ThreadPoolExecutor(PARALLEL))
        return {target: list(pool.map(ask, cases)) for target, ask in asks.items()}


def shown(statuses: Statuses) -> str:
    """Return statuses as one cell of the table: runs are counted, a silence is a dash."""
    cells: list[str] = []
    for status in dict.fromkeys(statuses):
        count = statuses.count(status)
        cells.append(f"{status}" if count == 1 else f"{count}*{status}")
    return " ".join(cells) or "-"


def report(target: str, cases: list[Case], mine: list[Statuses], theirs: list[Statuses]) -> int:
    """List what ``target`` serves and nginx does not; return how many have no reason."""
    unexplained = 0
    sys.stdout.write(f"\n{target} serves where nginx does not:\n")
    for case, ours, nginx in zip(cases, mine, theirs, strict=True):
        if ours.count(200) <= nginx.count(200):
            continue
        reasons = [text for start, text in REASONS.items() if case.name.startswith(start)]
        unexplained += not reasons
        why = reasons[0] if reasons else "NO REASON KNOWN"
        sys.stdout.write(f"  {case.name}: {shown(ours)}, nginx {shown(nginx)}: {why}\n")
    return unexplained


def main() -> None:
    """Ask, print the table, and list what is served by somebody but not by nginx."""
    parser = argparse.ArgumentParser(description="What others make of the HTTP/1.1 corpus.")
    help_text = "expected, h11, httptools, nginx or HOST:PORT of a running server"
    parser.add_argument("target", nargs="*", help=help_text)
    targets = parser.parse_args().target or ["expected", "h11", "httptools", "nginx"]
    cases = [
        case for case in CASES if not case.options and case.answer is None and case.reads == "first"
    ]
    answers = compare(targets, cases)
    write = sys.stdout.write
    width = max(len(case.name) for case in cases)
    write(" ".join((f"{'':{width}}", *(f"{target:>16}" for target in targets))) + "\n")
    for number, case in enumerate(cases):
        row = (f"{shown(answers[target][number]):>16}" for target in targets)
        write(" ".join((f"{case.name:{width}}", *row)) + "\n")
    unexplained = 0
    for target in targets:
        if "nginx" in targets and target != "nginx":
            found = report(target, cases, answers[target], answers["nginx"])
            unexplained += 0 if target in LIBRARIES else found
    sys.exit(1 if unexplained else 0)


if __name__ == "__main__":
    main()
