"""The command line, as a user types it."""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path
from unittest import skipIf

import django_daphne
from tests.support.processes import ProcessTestCase, get

APPLICATION = """
    import types

    async def application(scope, receive, send):
        assert scope["type"] == "http", scope["type"]
        body = scope["path"].encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    site = types.SimpleNamespace(asgi=types.SimpleNamespace(application=application))
    number = 3
"""

ACCESS_LINE = re.compile(
    r'127\.0\.0\.1:\d+ - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d\] "GET /page\?a=b" 200 \d+\n'
)


class CommandLineTestCase(ProcessTestCase):
    """Tests with an application at app:application."""

    def setUp(self):
        super().setUp()
        self.write("app.py", APPLICATION)


class ServeTests(CommandLineTestCase):
    """The command line serves an application and says where."""

    def test_free_port(self):
        """The user asks for any free port and for an attribute of an attribute."""
        server = self.start_cli("-b", "127.0.0.1", "-p", "0", "app:site.asgi.application")
        port = server.wait_for_port()
        self.assertEqual(get(port, "/here").text, "/here")
        self.finish(server)
        self.assertIn(f"Listening on TCP address 127.0.0.1:{port}\n", server.errors)

    def test_every_address(self):
        """The user lets the server listen on every address, on the port of the environment."""
        arguments = ("-b", "0.0.0.0", "--websocket_timeout", "9", "app:application")
        server = self.start_cli(*arguments, DJANGO_DAPHNE_PORT="0")
        self.assertEqual(get(server.wait_for_port(), "/here").text, "/here")
        self.assertEqual(server.wait_for(r"address ([\d.]+):")[1], "0.0.0.0")
        self.finish(server)

    def test_without_django(self):
        """The user serves an application where Django cannot even be imported, in silence."""
        self.write("django/__init__.py", "raise ImportError('there is no Django')")
        with socket.create_server(("127.0.0.1", 0)) as listening:
            descriptor = listening.fileno()
            arguments = ["-v", "0", "--fd", str(descriptor), "app:application"]
            server = self.start_command(
                [sys.executable, "-m", "django_daphne", *arguments], pass_fds=[descriptor]
            )
            # It waits in the backlog until the server accepts.
            self.assertEqual(get(listening.getsockname()[1], "/here").text, "/here")
        self.finish(server)
        self.assertEqual((server.output, server.errors), ("", ""))

    def test_garbage(self):
        """The application is loaded, and the garbage collector leaves it alone from then on."""
        self.write(
            "frozen.py",
            """
            import gc

            async def application(scope, receive, send):
                body = str(gc.get_freeze_count() > 1000).encode()
                await send({"type": "http.response.start", "status": 200})
                await send({"type": "http.response.body", "body": body})
            """,
        )
        server = self.start_cli("-p", "0", "--lifespan", "off", "frozen:application")
        self.assertEqual(get(server.wait_for_port(), "/").text, "True")
        self.finish(server)

    def test_threads(self):
        """The user limits the threads with the variable that daphne reads."""
        self.write(
            "threads.py",
            """
            import asyncio

            async def application(scope, receive, send):
                assert scope["type"] == "http"
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(None, int)
                body = str(loop._default_executor._max_workers).encode()
                await send({"type": "http.response.start", "status": 200})
                await send({"type": "http.response.body", "body": body})
            """,
        )
        arguments = ("-p", "0", "--loop", "asyncio", "threads:application")
        server = self.start_cli(*arguments, ASGI_THREADS="7")
        self.assertEqual(get(server.wait_for_port()).text, "7")
        self.finish(server)

    def test_script(self):
        """The user calls the command that was installed, in the folder of the application."""
        code = "import sys; from django_daphne.cli import main; sys.exit(main())"
        script = self.write("elsewhere/django-daphne", code)
        server = self.start(str(script), "-p", "0", "app:application")
        self.assertEqual(get(server.wait_for_port(), "/here").text, "/here")
        self.finish(server)


class MistakeTests(CommandLineTestCase):
    """Every mistake is one clear line and a status."""

    def assert_refused(self, status: int, **cases: tuple[str, ...]) -> None:
        """Assert what each command line says last; they all run side by side."""
        started = {
            name: (self.start_cli(*arguments), text) for name, (text, *arguments) in cases.items()
        }
        for name, (process, text) in started.items():
            with self.subTest(name):
                self.assert_one_line(process, status, text)

    def test_application(self):
        """The user names an application that is not there."""
        self.assert_refused(
            1,
            module=("there is no module 'nowhere'", "nowhere:application"),
            submodule=("there is no module 'app.deeper'", "app.deeper:application"),
            attribute=("app has no 'site.wsgi'", "app:site.wsgi"),
            no_callable=("it is no callable", "app:number"),
            no_colon=("expected module.path:object.path", "app.application"),
            relative=("expected module.path:object.path", ".app:application"),
        )

    def test_flags(self):
        """The user gives flags values that they cannot have."""
        self.assert_refused(
            2,
            word=("--port: 'abc' is not allowed", "-p", "abc", "app:application"),
            port=("--port: '99999' is not allowed", "-p", "99999", "app:application"),
            loud=("--verbosity: '4' is not allowed", "-v", "4", "app:application"),
            unknown=("unrecognized arguments: --porf", "--porf", "app:application"),
            nothing=("required: application", "-p", "0"),
        )

    def test_addresses(self):
        """The user wants to listen where that is not possible."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            busy = f"127.0.0.1:{other.getsockname()[1]}"
            self.assert_refused(
                1,
                busy=(f"{busy}: that address is already in use", "-b", busy, "app:application"),
                foreign=("not one of this machine's", "-b", "192.0.2.1:0", "app:application"),
                folder=("there is no such directory", "-u", "no/socket", "app:application"),
                endpoint=("listen on endpoint x:1", "-e", "x:1", "app:application"),
                log=("--access-log no/log: cannot be", "--access-log", "no/log", "app:application"),
            )

    def test_module_that_fails(self):
        """The author of a module that raises sees where."""
        self.write("broken.py", "import no_such_library")
        process = self.start_cli("broken:application")
        self.assertEqual(process.wait(), 1)
        self.assertIn('broken.py", line 1', process.errors)
        self.assertIn("No module named 'no_such_library'", process.errors)

    def test_environment(self):
        """The environment has a value that cannot be, and a name that nobody reads."""
        variables = {"DJANGO_DAPHNE_PORT": "http", "DJANGO_DAPHNE_BACKLOK": "5"}
        wrong = self.start_cli("app:application", **variables)
        unread = self.start_cli("--check", "app:application", DJANGO_DAPHNE_BACKLOK="5")
        self.assert_one_line(wrong, 2, "environment DJANGO_DAPHNE_PORT: 'http' is not allowed")
        self.assertEqual(unread.wait(), 0)
        self.assertIn("Did you mean DJANGO_DAPHNE_BACKLOG?", unread.errors)

    def test_startup(self):
        """The application says in its lifespan why it cannot start, or fails, or takes for ever."""
        self.write(
            "startup.py",
            """
            import asyncio

            async def failing(scope, receive, send):
                await receive()
                await send({"type": "lifespan.startup.failed", "message": "no database"})

            async def raising(scope, receive, send):
                raise RuntimeError("no cache")

            async def waiting(scope, receive, send):
                await receive()
                await asyncio.Event().wait()
            """,
        )
        late = ("-p", "0", "--lifespan-timeout", "0.01", "startup:waiting")
        self.assert_refused(
            3,
            failing=("startup failed: no database", "-p", "0", "startup:failing"),
            raising=("RuntimeError: no cache", "-p", "0", "--lifespan", "on", "startup:raising"),
            waiting=("did not start within 0.01 s", *late),
        )


class InformationTests(CommandLineTestCase):
    """The command line tells about itself without serving."""

    def test_configuration(self):
        """The user asks where each value comes from, in either spelling of a flag."""
        arguments = ("--websocket_timeout", "7", "--ping-timeout", "8", "nowhere:application")
        process = self.start_cli("--print-config", *arguments, DJANGO_DAPHNE_BACKLOG="9")
        hyphens = self.start_cli("--print-config", "--websocket-timeout", "7", "x:y")
        without = self.start_cli("--print-config", "--loop", "asyncio", "x:y")
        self.assertEqual(process.wait(), 0, process)
        lines = [" ".join(line.split()) for line in process.output.splitlines()]
        self.assertIn("websocket_timeout 7 seconds flag --websocket-timeout", lines)
        self.assertIn("backlog 9 environment DJANGO_DAPHNE_BACKLOG", lines)
        self.assertIn("port none default", lines)
        self.assertEqual(hyphens.wait(), 0, hyphens)
        self.assertRegex(hyphens.output, r"\nwebsocket_timeout +7 +seconds +flag")
        self.assertEqual(without.wait(), 0, without)
        self.assertEqual(without.output.splitlines()[-1], "The event loop will be asyncio.")

    @skipIf(sys.platform == "win32", "uvloop has no build for Windows")
    def test_loop(self):
        """The user sees which loop auto is, and hears when the one asked for is not installed."""
        auto = self.start_cli("--print-config", "x:y")
        self.write("uvloop.py", "raise ImportError('there is no uvloop')")
        missing = self.start_cli("--print-config", "--loop", "uvloop", "x:y")
        serving = self.start_cli("-p", "0", "--loop", "uvloop", "app:application")
        fallen_back = self.start_cli("--print-config", "x:y")
        self.assert_one_line(missing, 1, "uvloop is not installed here")
        self.assert_one_line(serving, 1, "uvloop is not installed here")
        self.assertEqual(fallen_back.wait(), 0, fallen_back)
        self.assertIn("The event loop will be asyncio.", fallen_back.output)
        self.assertEqual(auto.wait(), 0, auto)
        self.assertIn("The event loop will be ", auto.output)

    def test_check(self):
        """The user checks a good application and one that is not there."""
        good = self.start_cli("--check", "app:application")
        bad = self.start_cli("--check", "app:nothing")
        self.assertEqual(good.wait(), 0, good)
        self.assertEqual(good.output, "app:application is ready to be served.\n")
        self.assert_one_line(bad, 1, "app has no 'nothing'")

    def test_version(self):
        """The user asks for the version and for help."""
        version, usage = self.start_cli("--version"), self.start_cli("--help")
        self.assertEqual(version.wait(), 0)
        self.assertEqual(version.output, f"django-daphne {django_daphne.__version__}\n")
        self.assertEqual(usage.wait(), 0)
        self.assertIn("usage: django-daphne [options] module.path:object.path\n", usage.output)


class AccessLogTests(CommandLineTestCase):
    """Each request is a line."""

    def test_standard_output(self):
        """The reader of a pipe sees a request as soon as it is answered."""
        server = self.start_cli("-p", "0", "app:application")
        get(server.wait_for_port(), "/page?a=b")
        server.wait_for("GET")
        self.assertRegex(server.output, ACCESS_LINE)
        self.finish(server)
        self.assertEqual(len(server.output.splitlines()), 1)

    def test_file(self):
        """The log goes on in a file that has lines already, even where the rest is silent."""
        log = self.write("log", "before\n")
        server = self.start_cli("-p", "0", "--access-log", "log", "app:application")
        get(server.wait_for_port(), "/page?a=b")
        self.finish(server)
        before, line = log.read_text().splitlines(keepends=True)
        self.assertEqual(before, "before\n")
        self.assertRegex(line, ACCESS_LINE)
        self.assertEqual(server.output, "")


class VerbosityTests(CommandLineTestCase):
    """-v says how much is logged."""

    def test_levels(self):
        """The user asks for more and more."""
        self.write(
            "loud.py",
            """
            import asyncio, logging

            async def application(scope, receive, send):
                assert scope["type"] == "http"
                logging.debug("the loop's debugging is %s", asyncio.get_running_loop().get_debug())
                await send({"type": "http.response.start", "status": 200})
                await send({"type": "http.response.body"})
            """,
        )
        levels = {1: "", 2: "the loop's debugging is False", 3: "the loop's debugging is True"}
        servers = {
            level: self.start_cli("-p", "0", "-v", str(level), "loud:application")
            for level in levels
        }
        for level, server in servers.items():
            with self.subTest(level=level):
                self.assertEqual(get(server.wait_for_port()).status, 200)
                self.finish(server)
                self.assertIn(levels[level], server.errors)
                self.assertEqual("DEBUG" in server.errors, level > 1, server)
                self.assertIn('"GET /" 200', server.output)

    def test_format(self):
        """The user chooses how a line of the log looks."""
        process = self.start_cli("--log-fmt", "<%(levelname)s> %(message)s", "nowhere:application")
        self.assertEqual(process.wait(), 1)
        self.assertTrue(process.errors.startswith("<CRITICAL> Cannot load"), process)


class SocketTests(CommandLineTestCase):
    """The server listens on a socket in the file system, and cleans up."""

    @skipIf(os.name != "posix", "there are no Unix sockets")
    def test_unix_socket(self):
        """A proxy connects by path; the path is gone when the server is."""
        server = self.start_cli("-u", "s", "app:application")
        server.wait_for("Listening on unix socket s")
        self.assertTrue(Path(self.folder, "s").is_socket())
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.folder / "s"))
            client.sendall(b"GET /here HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            received = b"".join(iter(lambda: client.recv(65536), b""))
        self.assertTrue(received.endswith(b"\r\n\r\n/here"), received)
        self.finish(server)
        self.assertFalse(Path(self.folder, "s").exists())
        self.assertRegex(server.output, r'^None - - \[.*\] "GET /here" 200')
