"""What the pages say of flags, settings and tests is true, and their examples run."""

from __future__ import annotations

import json
import re
import shlex
import ssl
from argparse import ArgumentParser
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.test import SimpleTestCase

from django_daphne.server import OPTIONS, add_arguments, resolve
from tests.support.browser import WebSocketTestCase
from tests.support.nginx import BROWSER, NginxTestCase, write_certificate
from tests.support.processes import PATIENCE, Process, ProcessTestCase, get

DOCS = Path(__file__).resolve().parent.parent / "docs"
WORDS = ("same", "better", "changed", "gone", "not yet")

# What the command line of daphne 4.2 takes.
DAPHNE_FLAGS = """
    -h --help -p --port -b --bind -u --unix-socket --fd -e --endpoint -v --verbosity
    -t --http-timeout --websocket_timeout --websocket_connect_timeout --access-log --log-fmt
    --ping-interval --ping-timeout --websocket-max-message-size --websocket-max-frame-size
    --application-close-timeout --root-path --proxy-headers --proxy-headers-host
    --proxy-headers-port -s --server-name --no-server-name
"""

UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20}

# Says what it sees of a request; of a WebSocket, too, before it echoes.
APPLICATION = """
    import json

    NAMES = ("type", "client", "scheme", "root_path", "path")

    async def application(scope, receive, send):
        assert scope["type"] != "lifespan", "it has none"
        seen = json.dumps([scope[name] for name in NAMES])
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": seen.encode()})
            return
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": seen})
        while (event := await receive())["type"] == "websocket.receive":
            await send({**event, "type": "websocket.send"})
"""


def read(page: str) -> str:
    """Return the text of a page."""
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """Return what the page shows in a language."""
    return re.findall(rf"```{language}\n(.*?)```", read(page), re.DOTALL)


def tables(page: str) -> list[list[list[str]]]:
    """Return the tables of a page, each a list of rows of cells; the first row is the head."""
    return [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        for block in re.findall(r"(?:^\|.*\n)+", read(page), re.MULTILINE)
    ]


class FromDaphneTests(SimpleTestCase):
    """The page on moving from daphne says what changed, and where that is tested."""

    def setUp(self):
        super().setUp()
        self.tables = tables("howto/from-daphne.md")

    def test_tests(self):
        """The reader finds each test that is named, and one for whatever is there."""
        rows = [row for head, _, *rows in self.tables if head[-1] == "test" for row in rows]
        self.assertTrue(rows)
        for row in rows:
            with self.subTest(row[0]):
                names = re.findall(r"`(tests\.[\w.]+)`", row[-1])
                self.assertTrue(names or row[1] == "not yet")
                for name in names:
                    module, case, method = name.rsplit(".", 2)
                    self.assertTrue(method.startswith("test_"), name)
                    self.assertTrue(callable(getattr(getattr(import_module(module), case), method)))

    def test_tables(self):
        """The reader sees whole rows, and one of a few words for how much has changed."""
        for head, _, *rows in self.tables:
            for row in rows:
                self.assertEqual(len(row), len(head), row)
                if not head[1]:
                    self.assertIn(row[1], WORDS, row[0])

    def test_flags(self):
        """The user of daphne finds each flag in the table, and the parser takes it."""
        theirs = set(DAPHNE_FLAGS.split())
        ours = {flag for item in OPTIONS for flag in (*item.flags, item.off_flag)}
        table = next(table for table in self.tables if table[0][0] == "flag")
        listed = {flag for row in table for flag in re.findall(r"`(--?[\w-]+)`", row[0])}
        self.assertEqual(theirs - ours, {"-h", "--help"})  # argparse has these two
        self.assertEqual(theirs - listed, set())


class SettingTests(SimpleTestCase):
    """The tables of limits and timeouts are those of the configuration."""

    def test_defaults(self):
        """The operator reads settings with their defaults, several in a row here and there."""
        defaults = {item.name.upper(): item.default for item in OPTIONS}
        checked = set()
        for page in ("websocket", "timeouts", "backpressure"):
            for head, _, *rows in tables(f"topics/{page}.md"):
                if "default" not in head:
                    continue
                column = head.index("default")
                for row in rows:
                    names = re.findall(r"`(\w+)`", row[column - 1])
                    # A text such as "by the limit on open files" is no value.
                    values = re.findall(r"([\d.]+|none)(?: (.iB))?(?:, |$)", row[column])
                    for name, (value, unit) in zip(names, values, strict=False):
                        expected = None if value == "none" else float(value) * UNITS[unit]
                        self.assertEqual(defaults[name], expected, name)
                        checked.add(name)
        self.assertGreater(len(checked), 25)


class TLSPageTests(SimpleTestCase):
    """The settings and the commands of the page on TLS."""

    def test_settings(self):
        """The operator copies each of the settings."""
        found = [block for block in blocks("howto/tls.md", "python") if "DAPHNE =" in block]
        self.assertEqual(len(found), 4)
        for block in found:
            names: dict[str, Any] = {}
            exec(block, names)  # our own page
            self.assertTrue(resolve({}, {}, names["DAPHNE"]).config.tls.certfile)

    def test_commands(self):
        """The operator copies each of the commands."""
        parser = ArgumentParser(exit_on_error=False)
        add_arguments(parser, core=True)
        lines = "".join(blocks("howto/tls.md", "console")).replace("\\\n", " ")
        commands = re.findall(r"(?m)^\$ (.* rundaphne|django-daphne) (.*)$", lines)
        self.assertEqual(len(commands), 3)
        for _, flags in commands:
            given, _ = parser.parse_known_args(shlex.split(flags))
            self.assertTrue(resolve(vars(given), {}, {}).config.tls.certfile)


class ExampleTests(ProcessTestCase):
    """The examples of the page on embedding run as they stand."""

    def test_embed(self):
        """The reader copies each example that is whole, and stops the one that serves on."""
        started = {}
        for number, example in enumerate(blocks("howto/embed.md", "python")):
            if example.startswith(("from", "import")):
                self.write(f"example{number}.py", example)
                started[example] = self.start(f"example{number}.py")
        self.assertGreater(len(started), 5)
        for example, process in started.items():
            with self.subTest(example):
                if "raise_descriptor_limit()" in example:
                    process.wait_for_port()
                    self.finish(process)
                self.assertEqual(process.wait(), 0, process)


def channels_files() -> Iterator[tuple[str, str]]:
    """Yield path and text of each file that the page on Channels shows."""
    page = "howto/channels.md"
    for text in blocks(page, "python") + blocks(page, "html"):
        name = re.match(r"(?:#|<!--) ([\w/]+\.\w+)", text)
        assert name is not None, text
        yield name[1], text


class ChannelsTests(WebSocketTestCase):
    """The project of the page on Channels."""

    def manage(self, *arguments: str) -> None:
        """Run a management command to its end."""
        process = self.start("manage.py", *arguments)
        self.assertEqual(process.wait(), 0, process)

    def test_project(self):
        """The reader makes the project as the page says, and two visitors talk in a room."""
        process = self.start("-m", "django", "startproject", "mysite", ".")
        self.assertEqual(process.wait(), 0, process)
        self.manage("startapp", "chat")
        for name, text in channels_files():
            if name != "mysite/settings.py":
                self.write(name, text)
            elif "redis" not in text:
                with (self.folder / name).open("a", encoding="utf-8") as settings:
                    settings.write(text)
        self.manage("check")
        server = self.start("manage.py", "rundaphne", "-p", "0")
        origin = f"http://127.0.0.1:{server.wait_for_port()}"
        self.assertIn("/ws/room/lobby/", get(server.wait_for_port(), "/room/lobby/").text)
        visitors = [self.open(server, "/ws/room/lobby/", origin=origin) for _ in range(2)]
        visitors[0].send("Hello")
        for visitor in visitors:
            heard = json.loads(self.receive(visitor))
            self.assertEqual(heard, {"who": "somebody", "text": "Hello"})
        elsewhere = "https://example.org"
        self.assertEqual(self.refused(server, "/ws/room/lobby/", origin=elsewhere)[0], 403)
        self.assertEqual(self.refused(server, "/ws/other/", origin=origin)[0], 500)


class NginxTests(NginxTestCase):
    """The configurations for nginx on the pages, as they stand but for addresses and paths."""

    def start_block(self, block: str, server: Process) -> tuple[int, ssl.SSLContext | None]:
        """Start nginx with a block in front of the server; return its port, and whom to trust."""
        file = self.folder / "certificate.pem"
        tls = write_certificate(file) if "ssl_certificate " in block else None
        for theirs, ours in (
            (r"listen \[::\].*;\n", ""),
            (r"listen \d+", "listen 127.0.0.1:PORT"),
            (r"/etc/ssl/mysite/\w+\.pem", str(file)),
            (r"127\.0\.0\.1:8000", f"127.0.0.1:{server.wait_for_port()}"),
            (r"/run/mysite/\w+\.sock", str(self.folder / "socket")),
        ):
            block = re.sub(theirs, ours, block)
        return self._start_nginx("http", block), tls

    def ask_both(self, port: int, path: str, tls: ssl.SSLContext | None) -> list[Any]:
        """Return what the application sees of a request and of a WebSocket by a browser."""
        from websockets.sync.client import connect

        seen = [json.loads(self.open(port, tls=tls).send(path).body)]
        address = f"ws{'s' if tls else ''}://127.0.0.1:{port}{path}"
        with connect(address, source_address=(BROWSER, 0), ssl=tls, proxy=None) as client:
            seen.append(json.loads(client.recv(PATIENCE)))
            client.send("echo")
            self.assertEqual(client.recv(PATIENCE), "echo")
        return seen

    def test_blocks(self):
        """The browser loads a page and opens a WebSocket through each of them."""
        if find_spec("websockets") is None:
            self.skipTest("missing: websockets")
        self.write("app.py", APPLICATION)
        flags = ("-b", "127.0.0.1:0", "--proxy-headers", "--trusted-proxies", "127.0.0.1,unix")
        socket = str(self.folder / "socket")
        plain = self.start_cli(*flags, "-u", socket, "app:application")
        forwarded = self.start_cli(*flags, "--proxy-headers-format", "forwarded", "app:application")
        plain.wait_for("Listening on unix socket")
        found = blocks("howto/behind-a-proxy.md", "nginx") + blocks("howto/channels.md", "nginx")
        sites = [block for block in found if "location" in block]
        self.assertEqual(len(sites), 5)
        for block in sites:
            with self.subTest(block):
                port, tls = self.start_block(
                    block, forwarded if "$forwarded_for" in block else plain
                )
                root = "/shop" if "/shop" in block else ""
                path = f"{root}/page/"
                seen = [
                    [kind, [BROWSER, 0], f"{kind}s" if tls else kind, root, path]
                    for kind in ("http", "ws")
                ]
                seen[1][0] = "websocket"
                self.assertEqual(self.ask_both(port, path, tls), seen)
