"""The configuration: names and defaults, where values come from, and addresses."""

from __future__ import annotations

import argparse
import ast
import inspect
import sys
import unittest
from collections import Counter
from types import ModuleType
from typing import Any

from django_daphne.server import (
    addresses,
    config,
    consistency,
    metrics_config,
    options,
    protocol_config,
    resolution,
    sources,
    tls_config,
)
from django_daphne.server.config import (
    GROUPS,
    OPTIONS,
    ListenConfig,
    LogConfig,
    ProxyConfig,
    ServerConfig,
)
from django_daphne.server.consistency import contradictions
from django_daphne.server.exceptions import ConfigurationError
from django_daphne.server.resolution import Resolved, add_arguments, describe, resolve
from django_daphne.server.sockets import tcp_addresses


def make(*flags: str, environ: dict[str, str] | None = None, **settings: Any) -> Resolved:
    """Return the configuration of flags, environment and settings."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(parser, core=True)
    return resolve(vars(parser.parse_args(flags)), environ or {}, settings)


class FieldTests(unittest.TestCase):
    """Each option has one name, everywhere."""

    def test_names_are_unique(self):
        """The operator finds one option under a name, a flag or a variable."""
        for kind in ("name", "flags", "environment"):
            found = [getattr(item, kind) for item in OPTIONS]
            names = found if kind == "name" else [name for names in found for name in names]
            twice = [name for name, count in Counter(names).items() if count > 1]
            self.assertEqual(twice, [], kind)

    def test_every_option_has_help(self):
        """The operator reads one or two sentences about every option."""
        for item in OPTIONS:
            self.assertRegex(item.help, r"^[A-Z].*\.$", item.name)

    def test_limits_and_timeouts_say_what_happens(self):
        """The operator reads unit and outcome of every limit and timeout."""
        for attribute in ("limits", "timeouts", "websocket"):
            for item in GROUPS[attribute].options:
                if "compression" not in item.name:
                    self.assertTrue(item.unit and item.outcome, item.name)

    def test_daphne_defaults(self):
        """The user of daphne finds its flags and defaults again."""
        defaults = """
            port=none bind= unix_socket=none fd=none endpoint= verbosity=1 access_log=none
            http_timeout=none application_close_timeout=10 root_path= server_name=daphne
            proxy_headers=false proxy_headers_host=none proxy_headers_port=none
            websocket_timeout=86400 websocket_connect_timeout=5 ping_interval=20 ping_timeout=30
            websocket_max_message_size=1048576 websocket_max_frame_size=1048576
        """
        ours = {f"{item.name}={item.format(item.default)}" for item in OPTIONS}
        self.assertEqual(set(defaults.split()) - ours, set())
        self.assertEqual(LogConfig().log_fmt, "%(asctime)-15s %(levelname)-8s %(message)s")

    def test_daphne_flags(self):
        """The user of daphne gives each flag of its command line."""
        flags = """
            -p 8001 port  -b ::1 bind  -u /s unix_socket  --fd 0 fd  -e tcp:1 endpoint
            -v 2 verbosity  -t 9 http_timeout  --access-log - access_log  -s x server_name
            --log-fmt %(message)s log_fmt  --root-path /r root_path
            --websocket_timeout 1 websocket_timeout --ping-interval 3 ping_interval
            --websocket_connect_timeout 2 websocket_connect_timeout --ping-timeout 4 ping_timeout
            --websocket-max-message-size 5 websocket_max_message_size
            --websocket-max-frame-size 6 websocket_max_frame_size
            --application-close-timeout 7 application_close_timeout
            --proxy-headers-host X-Host proxy_headers_host
            --proxy-headers-port X-Port proxy_headers_port
        """
        words = flags.split()
        by_name = {item.name: item for item in OPTIONS}
        for flag, text, name in zip(words[::3], words[1::3], words[2::3], strict=True):
            with self.subTest(flag=flag):
                values = make("--proxy-headers", flag, text).config.values()
                self.assertEqual(by_name[name].format(values[name]), text)
                self.assertTrue(values["proxy_headers"])
        self.assertEqual(make("--no-server-name").config.http.server_name, "")

    def test_old_spellings(self):
        """The user of older releases spells a flag with underscores, or as handshake timeout."""
        for flag in (
            "--websocket-connect-timeout",
            "--websocket-handshake-timeout",
            "--websocket_handshake_timeout",
        ):
            timeout = make(flag, "8").config.websocket.websocket_connect_timeout
            self.assertEqual(timeout, 8, flag)
        self.assertEqual(make("--http_timeout", "8").config.timeouts.http_timeout, 8)

    def test_imports(self):
        """The reader of these modules needs to know the standard library alone."""
        modules: list[ModuleType] = [addresses, config, consistency, options, protocol_config]
        modules += [metrics_config, resolution, sources, tls_config]
        for module in modules:
            tree = ast.parse(inspect.getsource(module))
            names = {
                alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names
            }
            froms = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
            names |= {n.module or "" for n in froms if n.level == 0}
            self.assertEqual({n.partition(".")[0] for n in names} - sys.stdlib_module_names, set())
            relative = {n.module for n in froms if n.level}
            known = {each.__name__.rpartition(".")[2] for each in modules}
            self.assertLessEqual(relative, {*known, "exceptions"}, "this package alone")


class ValueTests(unittest.TestCase):
    """Each option takes what makes sense, and nothing else."""

    ACCEPTED: tuple[tuple[str, dict[str, Any]], ...] = (
        *((key, {"0": 0, "65535": 65535}) for key in ("PORT", "FD")),
        ("SERVER_NAME", {"": "", "é (x)": "é (x)"}),
        ("ROOT_PATH", {"/a/b": "/a/b", "": ""}),
        ("MAX_BODY_SIZE", {"none": None, "0": 0}),
        ("HTTP_TIMEOUT", {"0": None, "-1": None, "0.5": 0.5}),
        ("KEEP_ALIVE_TIMEOUT", {"0": 0.0, "-1": None}),
        ("HALF_CLOSE_TIMEOUT", {"0": 0.0, "-1": None}),
        *((f"WEBSOCKET_{name}TIMEOUT", {"-1": None}) for name in ("", "CONNECT_")),
        ("PING_INTERVAL", {"none": None}),
        ("WEBSOCKET_MAX_MESSAGE_SIZE", {"-1": None}),
        ("WEBSOCKET_MAX_FRAME_SIZE", {"0": None}),
        ("LOOP", {"asyncio": "asyncio"}),
        ("LIFESPAN", {"off": "off"}),
        ("ACCESS_LOG", {"none": None, "-": "-"}),
        ("LOG_FMT", {"%(message)s": "%(message)s", "": LogConfig().log_fmt}),
    )
    REFUSED = (
        *(("PORT", text) for text in ("-1", "65536", "http")),
        ("FD", "-1"),
        ("BACKLOG", "0"),
        *(("SERVER_NAME", text) for text in ("a\r\nSet-Cookie: b", "a\0", " a", "a ", "日本")),
        *(("ROOT_PATH", text) for text in ("a", "/", "/a/", "/a b", "/a?b", "/a\n")),
        *(("PROXY_HEADERS_HOST", text) for text in ("X Y", "X:", "X\r\n", "é")),
        *(("LIMIT_CONCURRENCY", text) for text in ("0", "-1")),
        *(("MAX_BODY_SIZE", text) for text in ("-1", "1MB")),
        ("MAX_HEADER_SIZE", "none"),
        *(("HEADER_TIMEOUT", text) for text in ("0", "-2", "nan")),
        ("WEBSOCKET_MAX_FRAME_SIZE", "-2"),
        ("LOOP", "trio"),
        ("EXECUTOR_THREADS", "0"),
        *(("LOG_FMT", text) for text in ("", "no field", "%(message)z", "%(message)d", "{x}")),
        *(("BIND", text) for text in ("*a:80", "a b", "http://a")),
    )

    def test_accepted(self):
        """The operator sets variables to allowed values."""
        for key, cases in self.ACCEPTED:
            for text, expected in cases.items():
                with self.subTest(key=key, text=text):
                    values = make(environ={f"DJANGO_DAPHNE_{key}": text}).config.values()
                    self.assertEqual(values[key.lower()], expected)

    def test_origin(self):
        """The operator reads which variable a value is from; an empty one may count as absent."""
        origins = make(environ={"DJANGO_DAPHNE_ROOT_PATH": "", "DJANGO_DAPHNE_LOOP": ""}).origins
        self.assertEqual(origins["root_path"], "environment DJANGO_DAPHNE_ROOT_PATH")
        self.assertEqual(origins["loop"], "default")

    def test_refused_texts(self):
        """The operator sets variables and flags to values that are not allowed."""
        for key, text in self.REFUSED:
            with self.subTest(key=key, text=text):
                if text:
                    with self.assertRaisesRegex(ConfigurationError, f"DJANGO_DAPHNE_{key}: "):
                        make(environ={f"DJANGO_DAPHNE_{key}": text})
                flag = "--" + key.lower().replace("_", "-")
                with self.assertRaisesRegex(ConfigurationError, f"^flag {flag}: "):
                    make(f"{flag}={text}")

    def test_refused_values(self):
        """The project sets a text where a number belongs."""
        with self.assertRaises(ConfigurationError) as caught:
            make(PORT="8000")
        self.assertEqual(
            str(caught.exception),
            "settings.DAPHNE['PORT']: '8000' is not allowed. "
            "Expected a whole number from 0 to 65535, or None (8000).",
        )

    def test_bind_is_a_list(self):
        """The project sets BIND to one text, which is not taken for a list of letters."""
        with self.assertRaisesRegex(ConfigurationError, "Expected a list of addresses"):
            make(BIND="localhost")

    def test_asgi_threads(self):
        """The operator of daphne has set ASGI_THREADS."""
        resolved = make(environ={"ASGI_THREADS": "3"})
        self.assertEqual(resolved.config.process.executor_threads, 3)
        self.assertEqual(resolved.origins["executor_threads"], "environment ASGI_THREADS")

    def test_every_default_round_trips(self):
        """The operator copies every default into the environment and changes nothing."""
        environ = {
            item.environment[0]: item.format(item.default) for item in OPTIONS if not item.core_only
        }
        self.assertEqual(make(environ=environ).config, ServerConfig())


class PrecedenceTests(unittest.TestCase):
    """Flag, environment, settings, default: the first that is there counts."""

    def test_order(self):
        """The operator takes one source after the other away."""
        environ = {"DJANGO_DAPHNE_PORT": "2"}
        cases = (
            (make("-p", "1", environ=environ, PORT=3), 1, "flag --port"),
            (make(environ=environ, PORT=3), 2, "environment DJANGO_DAPHNE_PORT"),
            (make(PORT=3), 3, "settings.DAPHNE['PORT']"),
            (make(), None, "default"),
        )
        for resolved, port, origin in cases:
            with self.subTest(origin=origin):
                self.assertEqual(resolved.config.listen.port, port)
                self.assertEqual(resolved.origins["port"], origin)

    def test_undone_by_a_flag(self):
        """The operator turns off by flags what the settings turn on."""
        config = make(
            "--no-proxy-headers", "--no-server-name", PROXY_HEADERS=True, SERVER_NAME="x"
        ).config
        self.assertEqual((config.proxy.proxy_headers, config.http.server_name), (False, ""))

    def test_none_beats_lower_sources(self):
        """The operator says none in the environment where the settings have a limit."""
        config = make(environ={"DJANGO_DAPHNE_MAX_BODY_SIZE": "none"}, MAX_BODY_SIZE=1).config
        self.assertIsNone(config.limits.max_body_size)

    def test_every_option_has_an_origin(self):
        """The reader of the origins finds every option."""
        self.assertEqual(list(make().origins), [item.name for item in OPTIONS])


class ProblemTests(unittest.TestCase):
    """All problems are told at once."""

    def test_a_line_for_each(self):
        """The operator makes a mistake in every source and reads of all, a line each."""
        with self.assertRaises(ConfigurationError) as caught:
            make(
                *("-p", "x", "--proxy-headers-host", "X-Real-IP"),
                environ={"DJANGO_DAPHNE_FD": "-3"},
                PROT=1,
                LOOP="trio",
            )
        starts = [line.split(":")[0] for line in str(caught.exception).splitlines()]
        self.assertEqual(
            starts,
            [
                "flag --port",
                "environment DJANGO_DAPHNE_FD",
                "settings.DAPHNE['PROT'] is not a known key. Did you mean PORT?",
                "settings.DAPHNE['LOOP']",
                "flag --proxy-headers-host",
            ],
        )

    def test_contradiction(self):
        """The operator names a header without saying that headers are believed."""
        text = "--proxy-headers has to be passed for this parameter."
        for name in ("proxy_headers_host", "proxy_headers_port"):
            given: dict[str, Any] = {name: "X-Real"}
            bare = ServerConfig(proxy=ProxyConfig(**given))
            self.assertEqual(contradictions(bare), [f"{name}: {text}"])
            with self.assertRaisesRegex(ConfigurationError, f"^flag --proxy-headers-.*: {text}$"):
                resolve(given, {}, {})
            full = resolve({**given, "proxy_headers": True}, {}, {}).config
            self.assertEqual(contradictions(full), [])

    def test_verbosity_is_a_flag_alone(self):
        """The project sets VERBOSITY, which only the command line has."""
        with self.assertRaisesRegex(ConfigurationError, "VERBOSITY"):
            make(VERBOSITY=2)
        parser = argparse.ArgumentParser()
        add_arguments(parser, core=False)
        self.assertEqual(parser.parse_known_args(["-v", "2"])[1], ["-v", "2"])

    def test_unknown_variable(self):
        """The operator misspells a variable and is warned, not stopped."""
        (warning,) = make(environ={"DJANGO_DAPHNE_MAX_BODYSIZE": "1"}).warnings
        self.assertIn("Did you mean DJANGO_DAPHNE_MAX_BODY_SIZE?", warning)


class AddressTests(unittest.TestCase):
    """Where the server listens follows from what is given and what is not."""

    def test_defaults(self):
        """The operator gives some of bind, port, socket, descriptor and endpoint."""
        cases: tuple[tuple[dict[str, Any], tuple[Any, ...]], ...] = (
            ({}, (("127.0.0.1", 8000),)),
            ({"port": 9000}, (("127.0.0.1", 9000),)),
            ({"port": 0}, (("127.0.0.1", 0),)),
            ({"bind": ("0.0.0.0",)}, (("0.0.0.0", 8000),)),
            ({"bind": ("0.0.0.0", "::1"), "port": 80}, (("0.0.0.0", 80), ("::1", 80))),
            ({"unix_socket": "/s"}, ()),
            ({"fd": 0}, ()),
            ({"endpoint": ("tcp:1",)}, ()),
            ({"unix_socket": "/s", "port": 9000}, (("127.0.0.1", 9000),)),
            ({"fd": 3, "bind": ("localhost",)}, (("localhost", 8000),)),
        )
        for given, expected in cases:
            with self.subTest(**given):
                found = tcp_addresses(ListenConfig(**given))
                self.assertEqual(tuple((each.host, each.port) for each in found), expected)

    def test_forms(self):
        """The operator writes an address in every form, the port 9 being --port."""
        cases = {
            "localhost": ("localhost", 9),
            "example.org:80": ("example.org", 80),
            "127.0.0.1:0": ("127.0.0.1", 0),
            "::1": ("::1", 9),
            "::": ("::", 9),
            "[::1]": ("::1", 9),
            "[::1]:80": ("::1", 80),
            "fe80::1%eth0": ("fe80::1%eth0", 9),
            "2001:DB8::1": ("2001:db8::1", 9),
            "*": ("*", 9),
            "*:80": ("*", 80),
        }
        for value, expected in cases.items():
            with self.subTest(value=value):
                (found,) = tcp_addresses(ListenConfig(bind=(value,), port=9))
                self.assertEqual((found.host, found.port), expected)

    def test_refused(self):
        """The operator writes something else and reads the value and the forms."""
        for value in (
            *("", " ", ":80", "*a", "**:80", "a:", "a:x", "a:65536", "a:-1", "a b", "a/b"),
            *("[::1", "::1]", "[::1]80", "[::1]:", "[a]:80", "[127.0.0.1]:80", "1:2:3", "a:80:90"),
            *("a:80\n", "http://a:80", "a:٨٠", "user@host"),
        ):
            with self.subTest(value=value), self.assertRaises(ConfigurationError) as caught:
                ListenConfig(bind=("localhost", value))
            self.assertIn(repr(value), str(caught.exception))
            self.assertIn("host, host:port, [IPv6 address]:port or *:port", str(caught.exception))


class ServerConfigTests(unittest.TestCase):
    """A configuration is a value that can be changed into another one."""

    def test_replace(self):
        """The embedder changes values of different groups by their names."""
        config = ServerConfig().replace(port=1, http_timeout=-1, server_name="")
        self.assertEqual(config.listen.port, 1)
        self.assertIsNone(config.timeouts.http_timeout)
        self.assertEqual(config.replace(server_name="x").listen.port, 1, "the others are kept")
        self.assertEqual(ServerConfig().listen.port, None, "the original is not changed")

    def test_replace_with_mistakes(self):
        """The embedder makes several mistakes and reads of all of them."""
        with self.assertRaises(ConfigurationError) as caught:
            ServerConfig().replace(prot=1, loop="trio", proxy_headers_host="X-Real-IP")
        self.assertEqual(
            str(caught.exception).splitlines(),
            [
                "no option 'prot'. Did you mean port?",
                "loop: 'trio' is not allowed. Expected one of auto, uvloop, asyncio.",
                "proxy_headers_host: --proxy-headers has to be passed for this parameter.",
            ],
        )

    def test_values_cover_every_option(self):
        """The reader of the flat values finds every option once, in order."""
        self.assertEqual(list(ServerConfig().values()), [item.name for item in OPTIONS])


class DescribeTests(unittest.TestCase):
    """--print-config shows every value and where it came from."""

    def test_table(self):
        """The operator reads a line for each option, in aligned columns."""
        text = describe(make("-p", "1", ROOT_PATH="/r", HTTP_TIMEOUT=2.5))
        lines = text.splitlines()
        self.assertEqual(len(lines), 1 + len(OPTIONS))
        rows = {line.split()[0]: line for line in lines}
        self.assertEqual(rows["port"].split(), ["port", "1", "flag", "--port"])
        self.assertEqual(rows["bind"].split(), ["bind", "(empty)", "default"])
        self.assertEqual(
            rows["max_body_size"].split(), ["max_body_size", "none", "bytes", "default"]
        )
        self.assertEqual(
            rows["http_timeout"].split(),
            ["http_timeout", "2.5", "seconds", "settings.DAPHNE['HTTP_TIMEOUT']"],
        )
        column = lines[0].index("from")
        for line in lines[1:]:
            self.assertEqual(line[column - 1], " ", line)
            self.assertRegex(line[column:], r"^(default|flag|settings)", line)
