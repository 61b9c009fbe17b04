#!/usr/bin/env python
"""Load the example project in every way for a long time, and see whether the server stays as it is.

    python benchmarks/soak.py --seconds 1800
    python benchmarks/soak.py --seconds 600 --workers 1

Two workers serve the example. Its visitors read pages over HTTP/1.1 and, where `h2load` is there,
over HTTP/2; they talk over WebSockets, send uploads, download, follow a stream; and every other one
of those who can leaves in the middle, with a reset. They do not hurry: this is no measure of speed.

Every few seconds memory, descriptors and threads of all processes are noted. The report is printed,
and left in benchmarks/results with a plot. Ends with status 1 when something has grown: the last
quarter is compared with the second, or when an answer was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from websocket_client import Handshake

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"

INTERVAL = 5.0
ANSWER_SECONDS = 30.0
START_SECONDS = 30.0
STOP_SECONDS = 60.0
# What the last quarter may have more than the second one: memory in parts of it, the others in
# pieces, for a request that is under way.
MEMORY_GROWTH = 0.05
COUNT_GROWTH = 8

UPLOAD = 1024 * 1024
ECHO = b"\x81\x85\x00\x00\x00\x00hello"
ECHOED = b"\x81\x05hello"
RESET = struct.pack("ii", 1, 0)

LISTENING = re.compile(rb"Listening on TCP address 127\.0\.0\.1:(\d+)")


class WrongAnswer(Exception):
    """An answer is not what it must be."""


@dataclass
class Visits:
    """Counts what visitors have done; ``errors`` has the first words of what went wrong."""

    done: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)


class Connection:
    """A visitor's connection, for a request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def head(self) -> tuple[int, dict[bytes, bytes]]:
        """Read the head of a response; return its status and its fields."""
        async with asyncio.timeout(ANSWER_SECONDS):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        fields = (line.partition(b":") for line in lines[1:] if line)
        return int(lines[0].split()[1]), {name.lower(): value.strip() for name, _, value in fields}

    async def ask(self, path: str) -> None:
        """Get a page, and read all of it."""
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        status, fields = await self.head()
        if status != 200:
            raise WrongAnswer(f"{path} was answered with {status}")
        await self.read(int(fields[b"content-length"]))

    async def read(self, count: int) -> None:
        """Read so many bytes."""
        async with asyncio.timeout(ANSWER_SECONDS):
            while count:
                data = await self.reader.read(min(count, 65536))
                if not data:
                    raise WrongAnswer("an answer was cut")
                count -= len(data)

    def reset(self) -> None:
        """Leave without a word."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.writer.transport.abort()


class Visitors:
    """All who visit a server until they are told to go home."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.visits = Visits()

    async def run(self, seconds: float) -> None:
        """Visit for so long."""
        visits: dict[Callable[[int], Coroutine[None, None, None]], tuple[int, float]] = {
            self.read_pages: (4, 0.05),
            self.talk: (4, 0.1),
            self.upload: (2, 0.5),
            self.download: (2, 0.5),
            self.follow: (2, 0.5),
        }
        tasks = [
            asyncio.create_task(self._repeat(visit, pause))
            for visit, (count, pause) in visits.items()
            for _ in range(count)
        ]
        tasks.append(asyncio.create_task(self._load_http2(seconds)))
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _repeat(
        self, visit: Callable[[int], Coroutine[None, None, None]], pause: float
    ) -> None:
        number = 0
        while True:
            number += 1
            try:
                await visit(number)
                self.visits.done[visit.__name__] += 1
            except (WrongAnswer, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                self.visits.errors[f"{visit.__name__}: {error!r}"[:100]] += 1
            await asyncio.sleep(pause)

    async def _connect(self) -> Connection:
        return Connection(*await asyncio.open_connection("127.0.0.1", self._port))

    async def read_pages(self, number: int) -> None:
        """Read some pages on one connection."""
        connection = await self._connect()
        try:
            for path in ("/", "/entries/", "/guestbook/", "/request/?format=json"):
                await connection.ask(path)
        finally:
            connection.writer.close()

    async def talk(self, number: int) -> None:
        """Open a WebSocket and hear some echoes."""
        connection = await self._connect()
        handshake = Handshake(self._port)
        connection.writer.write(handshake.request.replace(b"GET / ", b"GET /ws/echo ", 1))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                handshake.is_done(await connection.reader.readuntil(b"\r\n\r\n"))
                for _ in range(10):
                    connection.writer.write(ECHO)
                    if await connection.reader.readexactly(len(ECHOED)) != ECHOED:
                        raise WrongAnswer("that is no echo")
                if number % 2:
                    connection.writer.write(b"\x88\x82\x00\x00\x00\x00\x03\xe8")
                    await connection.reader.read()
        finally:
            connection.reset()

    async def upload(self, number: int) -> None:
        """Send a file, or half of it."""
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        body = head + bytes(UPLOAD) + b"\r\n--x--\r\n"
        connection = await self._connect()
        try:
            connection.writer.write(
                b"POST /upload/?format=json HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"
                b"Content-Type: multipart/form-data; boundary=x\r\n\r\n" % len(body)
            )
            if number % 2:
                connection.writer.write(body[: UPLOAD // 2])
                await connection.writer.drain()
                return
            connection.writer.write(body)
            status, _ = await connection.head()
            if status != 200:
                raise WrongAnswer(f"an upload was answered with {status}")
        finally:
            connection.reset()

    async def download(self, number: int) -> None:
        """Take a file, or the beginning of it."""
        connection = await self._connect()
        try:
            connection.writer.write(b"GET /download/file/?mb=4 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await connection.head()
            await connection.read(UPLOAD * (1 if number % 2 else 4))
        finally:
            connection.reset()

    async def follow(self, number: int) -> None:
        """Follow the clock's stream for a moment."""
        connection = await self._connect()
        try:
            connection.writer.write(b"GET /clock/stream/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await connection.head()
            async with asyncio.timeout(ANSWER_SECONDS):
                await connection.reader.readuntil(b"data: ")
        finally:
            connection.reset()

    async def _load_http2(self, seconds: float) -> None:
        """Ask for a page over HTTP/2, at an even pace."""
        if shutil.which("h2load") is None:
            return
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            process = await asyncio.create_subprocess_exec(
                *("h2load", "-c2", "-m4", "-n400", "--rps=20"),
                f"http://127.0.0.1:{self._port}/entries/",
                stdout=subprocess.PIPE,
            )
            try:
                printed, _ = await process.communicate()
            except asyncio.CancelledError:
                process.kill()
                await process.wait()
                raise
            if match := re.search(rb"(\d+) succeeded, (\d+) failed", printed):
                self.visits.done["http2"] += int(match[1])
                if match[2] != b"0":
                    self.visits.errors["http2: requests failed"] += int(match[2])


@dataclass(frozen=True)
class Sample:
    """What all processes have together, so many seconds after the beginning; memory in MiB."""

    moment: float
    memory: float
    descriptors: int
    threads: int


def look(pids: Sequence[int], moment: float) -> Sample:
    """Return what processes have now."""
    memory = threads = descriptors = 0
    for pid in pids:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
        fields = dict(line.split(":", 1) for line in status.splitlines())
        memory += int(fields["VmRSS"].removesuffix("kB"))
        threads += int(fields["Threads"])
        descriptors += sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return Sample(moment, memory / 1024, descriptors, threads)


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def start(folder: Path, workers: int) -> tuple[subprocess.Popen[bytes], int]:
    """Start the example in a folder for its database; return its process and port."""
    environment = {
        **os.environ,
        "DEMO_DATABASE": str(folder / "db.sqlite3"),
        "DEMO_DEBUG": "0",
        "PYTHONPATH": str(ROOT),
    }
    manage = [sys.executable, str(ROOT / "example_project" / "manage.py")]
    subprocess.run([*manage, "migrate", "-v0"], env=environment, check=True, timeout=START_SECONDS)
    log = (folder / "log").open("wb")
    options = ["-p", "0", f"--workers={workers}", "--access-log", str(folder / "access.log")]
    process = subprocess.Popen(
        [*manage, "rundaphne", *options], env=environment, stdout=log, stderr=subprocess.STDOUT
    )
    deadline = time.monotonic() + START_SECONDS
    while (found := LISTENING.search((folder / "log").read_bytes())) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"The server does not start: {(folder / 'log').read_text()}")
        time.sleep(0.1)
    return process, int(found[1])


async def soak(port: int, pids: Sequence[int], seconds: float) -> tuple[Visits, list[Sample]]:
    """Visit a server for so long; return what was done, and what its processes had."""
    visitors = Visitors(port)
    began = time.monotonic()
    visiting = asyncio.create_task(visitors.run(seconds))
    samples = [look(pids, 0)]
    while not visiting.done():
        await asyncio.wait((visiting,), timeout=INTERVAL)
        samples.append(look(pids, time.monotonic() - began))
    visiting.result()
    return visitors.visits, samples


def judge(samples: Sequence[Sample]) -> tuple[list[str], list[str]]:
    """Return lines that compare the last quarter with the second, and those that say growth."""
    quarter = max(len(samples) // 4, 1)
    before, after = samples[quarter : 2 * quarter] or samples, samples[-quarter:]
    lines, faults = [], []
    for name, allowed in (("memory", MEMORY_GROWTH), ("descriptors", 0), ("threads", 0)):
        old, new = (median(getattr(each, name) for each in part) for part in (before, after))
        room = old * allowed if allowed else COUNT_GROWTH
        lines.append(f"| {name} | {old:.1f} | {new:.1f} | {new - old:+.1f} |")
        if new > old + room:
            faults.append(f"{name} has grown from {old:.1f} to {new:.1f}")
    return lines, faults


def plot(samples: Sequence[Sample]) -> str:
    """Return an SVG with one panel for each of the three, from zero up."""
    width, height, left = 640, 120, 60
    parts = []
    end = samples[-1].moment or 1
    for row, name in enumerate(("memory", "descriptors", "threads")):
        values = [getattr(each, name) for each in samples]
        top, base = max(values) * 1.1 or 1, (row + 1) * (height + 30)
        points = " ".join(
            f"{left + each.moment / end * width:.1f},{base - value / top * height:.1f}"
            for each, value in zip(samples, values, strict=True)
        )
        unit = " (MiB)" if name == "memory" else ""
        parts += [
            f'<text x="{left}" y="{base - height - 6}">{name}{unit}, 0 to {top:.0f}</text>',
            f'<path d="M{left} {base - height}V{base}H{left + width}" fill="none" stroke="#888"/>',
            f'<polyline points="{points}" fill="none" stroke="#0a6" stroke-width="1.5"/>',
        ]
    size = f'width="{width + left + 20}" height="{3 * (height + 30) + 20}"'
    style = 'font-family="sans-serif" font-size="12"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{"".join(parts)}</svg>\n'


def main() -> int:
    """Soak the example, print the report and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=1800, help="For how long. (%(default)g)")
    parser.add_argument("--workers", type=int, default=2, help="Processes. (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        process, port = start(Path(name), options.workers)
        try:
            pids = [process.pid, *children(process.pid)]
            visits, samples = asyncio.run(soak(port, pids, options.seconds))
        finally:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            process.kill()
        log = (Path(name) / "log").read_text(errors="replace")
    lines, faults = judge(samples)
    faults += [f"{count} times {what}" for what, count in visits.errors.items()]
    faults += [line for line in log.splitlines() if "ERROR" in line or "Traceback" in line][:10]
    if process.returncode:
        faults.append(f"the server has ended with status {process.returncode}")
    report = [
        f"# {options.seconds:g} s with {options.workers} workers",
        "",
        *(f"* {what}: {count}" for what, count in sorted(visits.done.items())),
        "",
        "| all processes | second quarter | last quarter | difference |",
        "|---|---|---|---|",
        *lines,
        "",
        *(faults or ["Nothing has grown, and every answer was right."]),
    ]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "soak.md").write_text("\n".join(report) + "\n")
    (RESULTS / "soak.svg").write_text(plot(samples))
    print("\n".join(report))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
