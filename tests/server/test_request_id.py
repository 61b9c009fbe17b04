"""The id and the trace of a request: whose word is taken, what is made, and who gets to see it."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import unittest
from typing import Any

from django.test import tag

from django_daphne.server import ConfigurationError, ServerConfig, Trace, current_trace
from django_daphne.server.request_id import TraceReader, make_trace
from tests.compliance import FIVE, POST, request
from tests.support.http2_frames import request_fields
from tests.support.memory import MemoryClient, Puppet, WireTestCase
from tests.support.processes import PATIENCE, ROOT
from tests.support.websocket import WebSocketTestCase, event
from tests.support.wire import CLIENT

from .http2_support import HTTP2TestCase

TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"
MADE_ID = "^[0-9a-f]{32}$"
LOCAL = ("127.0.0.1", 40000)

Line = tuple[str, str]


def read(*lines: Line, header: str | None = "X-Request-ID") -> Trace:
    """Return the trace of a request of a trusted peer."""
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in lines]
    return TraceReader(header).read(headers)


class TraceTestCase(unittest.TestCase):
    """Tests of what is made where nobody is believed."""

    def assert_made(self, trace: Trace) -> None:
        """Nothing of it is the peer's, and all of it belongs together."""
        self.assertRegex(trace["request_id"], MADE_ID)
        made = rf"^00-{trace['request_id']}-(?!0{{16}})[0-9a-f]{{16}}-00$"
        self.assertRegex(trace["traceparent"], made)
        self.assertIsNone(trace["tracestate"])


class RequestIDTests(TraceTestCase):
    """The header with the id."""

    def test_good(self):
        """The proxy gives ids as the usual ones write them."""
        for name in (
            "7",
            "f47ac10b-58cc-4372-a567-0e02b2c3d479",
            "Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=1",
            "105445aa7843bc8bf206b12000100000/1;o=1",
            "|a.b_~c:d+e@f",
            "x" * 128,
        ):
            trace = read(("X-Request-ID", name))
            self.assertEqual((trace["request_id"], trace["tracestate"]), (name, None))
            self.assertRegex(trace["traceparent"], "^00-[0-9a-f]{32}-[0-9a-f]{16}-00$")

    def test_bad(self):
        """The proxy lets through what does not belong into a line of a log."""
        for name in (
            *("", " ", "a b", "a,b", 'a"b', "a'b", "a\\b", "a%b", "a{b", "a<b", "a\tb", "caf\xe9"),
            *("x" * 129, "\x1b[31m", "a\x7f"),
        ):
            with self.subTest(name):
                self.assert_made(read(("X-Request-ID", name)))

    def test_repeated(self):
        """The proxy adds its id to one of the client's, and none of them is taken."""
        self.assert_made(read(("X-Request-ID", "one"), ("X-Request-ID", "two")))

    def test_trace(self):
        """The proxy's id is one of a trace, as that of nginx, and the trace is called the same."""
        self.assertRegex(
            read(("X-Request-ID", TRACE_ID))["traceparent"], f"^00-{TRACE_ID}-[0-9a-f]{{16}}-00$"
        )
        for name in ("0" * 32, TRACE_ID.upper(), TRACE_ID[:-1], TRACE_ID + "0"):
            trace = read(("X-Request-ID", name))
            self.assertEqual(trace["request_id"], name)
            self.assertNotIn(name, trace["traceparent"])
            self.assertRegex(trace["traceparent"], "^00-(?!0{32})[0-9a-f]{32}-[0-9a-f]{16}-00$")

    def test_other_header(self):
        """The operator's proxy has a name of its own for the header, or none."""
        lines = (("X-Request-ID", "one"), ("X-Amzn-Trace-Id", "two"))
        self.assertEqual(read(*lines, header="X-Amzn-Trace-Id")["request_id"], "two")
        self.assert_made(read(*lines, header=None))

    def test_names(self):
        """The operator names a header that means something else."""
        for name in ("Content-Length", "host", "Set-Cookie", "traceparent", "a b", ""):
            with self.assertRaisesRegex(ConfigurationError, "means nothing else to HTTP"):
                ServerConfig().replace(request_id_header=name)
        self.assertIsNone(ServerConfig().replace(request_id_header=None).proxy.request_id_header)


class TraceparentTests(TraceTestCase):
    """The headers of W3C Trace Context."""

    def parent(self, *values: str) -> Trace:
        """Return the trace of a request with these values, and a state."""
        lines = [("traceparent", value) for value in values]
        return read(*lines, ("tracestate", "vendor=1"))

    def test_good(self):
        """The caller's place in the trace is handed on as it is, and the request gets an id."""
        trace = self.parent(TRACEPARENT)
        self.assertEqual((trace["traceparent"], trace["tracestate"]), (TRACEPARENT, "vendor=1"))
        self.assertRegex(trace["request_id"], MADE_ID)
        self.assertNotEqual(trace["request_id"], TRACE_ID)
        both = read(("X-Request-ID", "one"), ("traceparent", TRACEPARENT))
        self.assertEqual((both["request_id"], both["traceparent"]), ("one", TRACEPARENT))

    def test_bad(self):
        """The caller's header is invalid, so a trace begins here, without a state."""
        for value in (
            "",
            "00",
            TRACEPARENT.upper(),
            TRACEPARENT[:-1],
            TRACEPARENT + "0",
            TRACEPARENT + "-",
            TRACEPARENT + "-more",
            TRACEPARENT.replace("-", "_"),
            TRACEPARENT + ", " + TRACEPARENT,
            f"ff{TRACEPARENT[2:]}",
            f"0x{TRACEPARENT[2:]}",
            f"01{TRACEPARENT[2:]}more",
            f"00-{'0' * 32}-{PARENT_ID}-01",
            f"00-{TRACE_ID}-{'0' * 16}-01",
            f"00-{TRACE_ID[1:]}g-{PARENT_ID}-01",
        ):
            with self.subTest(value):
                self.assert_made(self.parent(value))

    def test_repeated(self):
        """The caller sends two, and none of them counts; without one a state means nothing."""
        self.assert_made(self.parent(TRACEPARENT, TRACEPARENT))
        self.assert_made(self.parent())

    def test_later_version(self):
        """The caller speaks a later version, of which the known part is handed on."""
        for more in ("", "-", "-what-the-future-brings"):
            later = f"cc{TRACEPARENT[2:]}{more}"
            self.assertEqual(self.parent(later)["traceparent"], TRACEPARENT)

    def test_flags(self):
        """The caller sets flags, of which those are handed on that mean something."""
        for given, known in (("00", "00"), ("01", "01"), ("02", "02"), ("ff", "03"), ("f4", "00")):
            found = self.parent(f"{TRACEPARENT[:-2]}{given}")["traceparent"]
            self.assertEqual(found, f"{TRACEPARENT[:-2]}{known}")

    def test_state(self):
        """The caller's state comes in several fields, in none, or is none."""
        for values, state in (
            (["a=1,b=2"], "a=1,b=2"),
            (["a=1", "", "b=2 , c=3"], "a=1,b=2 , c=3"),
            ([], None),
            ([""], None),
            (["a=\xe9"], None),
            (["a=\x01"], None),
        ):
            lines = [("tracestate", value) for value in values]
            trace = read(("traceparent", TRACEPARENT), *lines)
            self.assertEqual((trace["traceparent"], trace["tracestate"]), (TRACEPARENT, state))


FORKED = """
import os
from django_daphne.server.request_id import make_trace

make_trace()
reader, writer = os.pipe()
for _ in range(2):
    if os.fork() == 0:
        os.write(writer, make_trace()["request_id"].encode())
        os._exit(0)
for _ in range(2):
    os.wait()
print(make_trace()["request_id"], os.read(reader, 64).decode())
"""


class MadeTests(TraceTestCase):
    """What the server makes itself."""

    def test_different(self):
        """The operator tells any two requests apart, whatever a project does to random."""
        random.seed(7)
        first = [make_trace() for _ in range(1000)]
        random.seed(7)
        traces = [*first, *(make_trace() for _ in range(1000))]
        self.assertEqual(len({trace["request_id"] for trace in traces}), 2000)
        self.assertEqual(len({trace["traceparent"][36:52] for trace in traces}), 2000)
        self.assert_made(traces[0])

    def test_forks(self):
        """The operator serves with several processes that were forked of one."""
        done = subprocess.run(
            [sys.executable, "-c", FORKED],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        own, others = done.stdout.split()
        self.assertEqual(len({own, others[:32], others[32:]}), 3, done.stdout)


NAMED = (b"X-Request-ID: one", b"traceparent: " + TRACEPARENT.encode(), b"tracestate: a=1")
NAMES = {"request_id": "one", "traceparent": TRACEPARENT, "tracestate": "a=1"}


@tag("loop")
class TrustTests(WireTestCase):
    """Whose word is taken, over HTTP/1.1."""

    def ask(self, peer: Any, *lines: bytes, **values: Any) -> tuple[Any, Any]:
        """Send a request; return the trace of its scope, and of its record."""
        puppet = Puppet()
        client = self.serve(puppet, **values).connect(client=peer)
        client.send(request(*lines))
        puppet.calls[0].answer()
        (found,) = client.server.access
        return puppet.calls[0].scope["extensions"]["django_daphne.trace"], found.trace

    def test_trusted(self):
        """The proxy on the same machine, or on a Unix socket, is believed without a flag."""
        for peer in (LOCAL, ("::1", 40000), None):
            self.assertEqual(self.ask(peer, *NAMED), (NAMES, NAMES))

    def test_untrusted(self):
        """A stranger names its request, and the server does not listen."""
        for peer, trusted in ((CLIENT, ["127.0.0.1"]), (LOCAL, [])):
            in_scope, in_record = self.ask(peer, *NAMED, trusted_proxies=trusted)
            self.assertEqual(in_scope, in_record)
            self.assertRegex(in_scope["request_id"], MADE_ID)
            self.assertNotIn(TRACE_ID, in_scope["traceparent"])
            self.assertIsNone(in_scope["tracestate"])

    def test_far_proxy(self):
        """The operator trusts a proxy on another machine."""
        self.assertEqual(self.ask(CLIENT, *NAMED, trusted_proxies=[CLIENT[0]]), (NAMES, NAMES))

    def test_mixed(self):
        """The proxy names the request and its client."""
        puppet = Puppet()
        client = self.serve(puppet, proxy_headers=True).connect(client=LOCAL)
        client.send(request(*NAMED, b"X-Forwarded-For: 192.0.2.9"))
        (call,) = puppet.calls
        self.assertEqual(call.scope["client"], ("192.0.2.9", 0))
        self.assertEqual(call.scope["extensions"]["django_daphne.trace"], NAMES)

    def test_headers(self):
        """The application finds the headers where they were."""
        puppet = Puppet()
        client = self.serve(puppet).connect(client=LOCAL)
        client.send(request(*NAMED))
        names = [name for name, _ in puppet.calls[0].scope["headers"]]
        self.assertEqual(names, [b"host", b"x-request-id", b"traceparent", b"tracestate"])

    def test_each(self):
        """A client asks for the same again and again, and each request has its own id."""
        puppet = Puppet()
        client = self.connect(puppet)
        for number in range(3):
            client.send(request())
            puppet.calls[number].answer()
        traces = [each.scope["extensions"]["django_daphne.trace"] for each in puppet.calls]
        self.assertEqual(len({trace["request_id"] for trace in traces}), 3)
        self.assertEqual([each.trace for each in client.server.access], traces)

    def test_own_copy(self):
        """The application changes what its scope says, and the log stays as it was."""
        puppet = Puppet()
        client = self.serve(puppet).connect(client=LOCAL)
        client.send(request(*NAMED))
        puppet.calls[0].scope["extensions"]["django_daphne.trace"].clear()
        puppet.calls[0].answer()
        self.assertEqual(client.server.access[0].trace, NAMES)

    def refuse(self, wire: bytes, **values: Any) -> Any:
        """Return the trace of what was refused before the application was called."""
        puppet = Puppet()
        client = self.serve(puppet, **values).connect(client=LOCAL)
        client.send(wire)
        self.assertEqual(puppet.calls, [])
        (found,) = client.server.access
        return found.trace

    def test_refused(self):
        """The operator finds a request that was refused under the proxy's name for it."""
        wire = request(FIVE, *NAMED, line=POST)
        self.assertEqual(self.refuse(wire, max_body_size=1), NAMES)
        both = (b"X-Forwarded-For: 192.0.2.9", b"Forwarded: for=192.0.2.9")
        with self.assertLogs("django_daphne.server", "WARNING"):
            self.assertEqual(self.refuse(request(*both, *NAMED), proxy_headers=True), NAMES)

    def test_unreadable(self):
        """Two clients send garbage, and the operator tells the two apart."""
        first, second = self.refuse(b"garbage\r\n\r\n"), self.refuse(b"garbage\r\n\r\n")
        self.assertRegex(first["request_id"], MADE_ID)
        self.assertNotEqual(first["request_id"], second["request_id"])


class HTTP2Tests(HTTP2TestCase):
    """The same over HTTP/2."""

    def test_scope(self):
        """The proxy names its requests, one of them twice."""
        client, calls = self.speak(trusted_proxies=[CLIENT[0]])
        fields = [(b"x-request-id", b"one"), (b"traceparent", TRACEPARENT.encode())]
        for headers in ((*fields, (b"tracestate", b"a=1")), ()):
            client.ask(request_fields(b"GET", b"/", *headers))
        named, made = (each.scope["extensions"]["django_daphne.trace"] for each in calls)
        self.assertEqual(named, NAMES)
        self.assertRegex(made["request_id"], MADE_ID)

    def test_response(self):
        """The client reads the id in the response."""
        client, calls = self.speak(trusted_proxies=[CLIENT[0]], request_id_response=True)
        answer = client.ask(request_fields(b"GET", b"/", (b"x-request-id", b"one")))
        calls[0].answer()
        client.hear()
        self.assertEqual(answer.headers[b"x-request-id"], b"one")


class WebSocketTests(WebSocketTestCase):
    """The same of WebSockets."""

    def test_events(self):
        """The operator finds every event of a WebSocket under one id, that of its scope."""
        client, call = self.ask(self.serve(Puppet()), *NAMED, client=LOCAL)
        self.assertEqual(call.scope["extensions"]["django_daphne.trace"], NAMES)
        self.accept(client, call)
        client.reset()
        call.finish()
        events = [(each.event, each.trace) for each in client.server.access]
        expected = ("connecting", "connected", "disconnected")
        self.assertEqual(events, [(name, NAMES) for name in expected])

    def test_rejected(self):
        """The operator finds a rejected one, and so does its client."""
        server = self.serve(Puppet(), request_id_response=True)
        client, call = self.ask(server, *NAMED, client=LOCAL)
        call.receive_now()
        self.say(call, "close")
        self.assertIn(b"\r\nX-Request-ID: one\r\n", client.read())
        self.assertEqual([each.trace for each in client.server.access], [NAMES] * 2)

    def test_accepted(self):
        """The client reads the id in the answer to its handshake."""
        server = self.serve(Puppet(), request_id_response=True)
        client, call = self.ask(server, *NAMED, client=LOCAL)
        call.receive_now()
        call.send(event("accept")).result()
        self.assertIn(b"\r\nX-Request-ID: one\r\n", client.read())


class ResponseTests(WireTestCase):
    """The id in the response."""

    def answered(self, *headers: tuple[bytes, bytes], **values: Any) -> list[str]:
        """Return the ids in the response to a request that the proxy calls "one"."""
        puppet = Puppet()
        client = self.serve(puppet, **values).connect(client=LOCAL)
        client.send(request(b"X-Request-ID: one"))
        (call,) = puppet.calls
        call.start(headers=headers)
        call.body(b"hello")
        return self.ids(client)

    def ids(self, client: MemoryClient, name: str = "X-Request-ID") -> list[str]:
        """Return the ids in the one response that has come."""
        head, _, _ = client.read().decode().partition("\r\n\r\n")
        lines = [line.partition(": ") for line in head.split("\r\n")]
        return [value for key, _, value in lines if key.lower() == name.lower()]

    def test_off(self):
        """The operator has not asked for it."""
        self.assertEqual(self.answered(), [])

    def test_on(self):
        """The client can tell support what its request was called."""
        self.assertEqual(self.answered(request_id_response=True), ["one"])
        self.assertEqual(self.answered((b"a", b"b"), request_id_response=True), ["one"])

    def test_own(self):
        """The application has a header of that name, which is the only one."""
        for name in (b"X-Request-ID", b"x-request-id"):
            self.assertEqual(self.answered((name, b"own"), request_id_response=True), ["own"])

    def test_other_header(self):
        """The operator has another name for the header, or believes nobody."""
        puppet = Puppet()
        for name, sent in (("X-Trace", "X-Trace"), (None, "X-Request-ID")):
            server = self.serve(puppet, request_id_response=True, request_id_header=name)
            client = server.connect(client=LOCAL)
            client.send(request(b"X-Trace: one"))
            puppet.calls[-1].answer()
            trace = puppet.calls[-1].scope["extensions"]["django_daphne.trace"]
            self.assertEqual(self.ids(client, sent), [trace["request_id"]])

    def test_pages(self):
        """The client is refused by the server, and by one whose application has failed."""
        puppet = Puppet()
        client = self.serve(puppet, request_id_response=True).connect(client=LOCAL)
        client.send(b"garbage\r\n\r\n")
        (found,) = client.server.access
        assert found.trace is not None
        self.assertEqual(self.ids(client), [found.trace["request_id"]])
        client = client.server.connect(client=LOCAL)
        client.send(request(b"X-Request-ID: one"))
        with self.assertLogs("django_daphne.server", "ERROR"):
            puppet.calls[0].fail(RuntimeError())
        self.assertEqual(self.ids(client), ["one"])

    def test_bad_headers(self):
        """The author of an application hears what is wrong with its headers, as without the id."""
        for headers, text in (
            ([b"ab"], "pair of byte strings"),
            ([("x", b"y")], "expected to be `bytes`"),
            ([(b"x", b"a\nb")], "control character"),
        ):
            puppet = Puppet()
            client = self.serve(puppet, request_id_response=True).connect()
            client.send(request())
            sending = puppet.calls[0].send("start", status=200, headers=headers)
            with self.assertRaisesRegex(ValueError, text):
                sending.result()
            with self.assertLogs("django_daphne.server", "ERROR"):
                puppet.calls[0].finish()


class CurrentTests(WireTestCase):
    """What code finds that handles a request, wherever it runs."""

    def test_outside(self):
        """Code that handles no request finds nothing."""
        self.assertIsNone(current_trace())

    def test_tasks(self):
        """Two requests run by turns, with tasks and threads; each finds its own."""
        found: dict[str, list[Trace | None]] = {}

        async def application(scope: Any, receive: Any, send: Any) -> None:
            seen = found.setdefault(scope["path"], [])
            seen.append(current_trace())
            seen.append(await asyncio.create_task(self.later()))
            seen.append(await asyncio.to_thread(current_trace))
            await receive()
            seen.append(current_trace())
            trace = current_trace()
            assert trace is not None
            trace["request_id"] = "changed"  # a copy
            await send({"type": "http.response.start", "status": 204})
            await send({"type": "http.response.body"})
            seen.append(current_trace())

        server = self.serve(application)
        clients = [server.connect(client=LOCAL) for _ in range(2)]
        for client, name in zip(clients, (b"a", b"b"), strict=True):
            line, id_header = b"POST /%b HTTP/1.1" % name, b"X-Request-ID: " + name
            client.send(request(id_header, b"Content-Length: 1", line=line))
        for client in clients:
            client.send(b"x")
        server.run(self.answers(found))
        for path, seen in found.items():
            self.assertEqual([each and each["request_id"] for each in seen], [path[1:]] * 5)
        self.assertIsNone(current_trace())

    async def later(self) -> Trace | None:
        """Return what a task finds."""
        await asyncio.sleep(0)
        return current_trace()

    async def answers(self, found: dict[str, list[Trace | None]]) -> None:
        """Return when both have been answered."""
        while [len(seen) for seen in found.values()] != [5, 5]:
            await asyncio.sleep(0)
