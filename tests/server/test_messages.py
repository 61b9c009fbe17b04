"""Which ASGI message is legal in which state: the whole table, and the shape of each message."""

from __future__ import annotations

import http
from pathlib import Path
from typing import Any

from django.test import tag

from django_daphne.server import ApplicationError
from tests.compliance import request

from .test_http_cycle import CycleTestCase, Exchange

# Ways into each state; then every message type with the states that it is legal in.
WAYS: dict[str, tuple[dict[str, Any], ...]] = {
    "AWAITING_START": (),
    "AWAITING_BODY": ({"type": "start", "status": 200, "trailers": True},),
    "SENDING_BODY": (
        {"type": "start", "status": 200, "trailers": True},
        {"type": "body", "body": b"a", "more_body": True},
    ),
    "AWAITING_TRAILERS": (
        {"type": "start", "status": 200, "trailers": True},
        {"type": "body", "body": b"a"},
    ),
    "COMPLETE": ({"type": "start", "status": 200}, {"type": "body"}),
}
MESSAGES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "start": ({"status": 200}, {"AWAITING_START"}),
    "early_hint": ({"links": [b"</a.css>"]}, {"AWAITING_START"}),
    "body": ({"body": b"a"}, {"AWAITING_BODY", "SENDING_BODY"}),
    "pathsend": ({"path": __file__}, {"AWAITING_BODY"}),
    "zerocopysend": ({"count": 1}, {"AWAITING_BODY", "SENDING_BODY"}),
    "trailers": ({"headers": []}, {"AWAITING_TRAILERS"}),
}


@tag("loop")
class TableTests(CycleTestCase):
    """Every message in every state."""

    def reach(self, state: str) -> Exchange:
        """Return an exchange in a state."""
        exchange = self.exchange(request(b"TE: trailers"))
        for message in WAYS[state]:
            exchange.send(message).result()
        return exchange

    def test_table(self):
        """The application sends every kind of message in every state."""
        with Path(__file__).open("rb") as file:
            for state in WAYS:
                for kind, (values, legal) in MESSAGES.items():
                    exchange = self.reach(state)
                    said = list(exchange.stream.said)
                    error = exchange.send({"type": kind, "file": file, **values}).exception()
                    with self.subTest(state=state, kind=kind):
                        self.assertEqual(error is None, state in legal, error)
                        if error is not None:
                            self.assertIsInstance(error, ApplicationError)
                            self.assertIn(state, str(error))
                            self.assertIn(f"http.response.{kind}", str(error))
                            self.assertEqual(exchange.stream.said, said)

    def test_unknown_types(self):
        """The application sends messages of another protocol, or of none."""
        for kind in ("websocket.send", "http.response.push", "http.response.debug", "", 5, None):
            for state in WAYS:
                error = self.reach(state).exchange_error({"type": kind})
                self.assertIsInstance(error, ValueError)
                self.assertEqual(str(error), f"Cannot handle message type {kind}!")

    def test_no_type(self):
        """The application sends what has no type, or one that cannot be a type."""
        for message in ({}, {"body": b""}, None, b"hello", {"type": ["http.response.start"]}):
            error = self.reach("AWAITING_START").exchange_error(message)
            self.assertIsInstance(error, ApplicationError, message)

    def test_daphnes_words(self):
        """The developer reads the texts that are known from daphne."""
        error = self.reach("AWAITING_BODY").exchange_error(
            {"type": "http.response.start", "status": 200}
        )
        self.assertRegex(str(error), "^HTTP response has already been started")
        error = self.reach("AWAITING_START").exchange_error({"type": "http.response.body"})
        self.assertRegex(str(error), "^HTTP response has not yet been started")

    def test_goes_on_after_an_error(self):
        """The application corrects itself: a refused message changes nothing."""
        exchange = self.reach("AWAITING_START")
        exchange.exchange_error({"type": "http.response.start", "status": "200"})
        exchange.send({"type": "start", "status": 200}).result()
        exchange.send({"type": "body"}).result()
        self.assertEqual([said[0] for said in exchange.stream.said], ["start", "body"])


@tag("loop")
class ShapeTests(CycleTestCase):
    """The values inside of messages."""

    def error_of(self, *messages: dict[str, Any]) -> BaseException | None:
        """Return the error of the last of these messages."""
        exchange = self.exchange()
        for message in messages[:-1]:
            exchange.send(message).result()
        return exchange.send(messages[-1]).exception()

    def test_bad_statuses(self):
        """The application starts with what is no final status."""
        for status in (None, "200", 200.0, True, 100, 101, 103, 199, 0, -1, 1000):
            error = self.error_of({"type": "start", "status": status})
            self.assertIsInstance(error, ApplicationError, status)
            self.assertIn("status", str(error))
        self.assertIsInstance(self.error_of({"type": "start"}), ApplicationError)

    def test_good_statuses(self):
        """The application starts with numbers, named or not."""
        for status in (200, 299, 404, 599, 999, http.HTTPStatus.IM_A_TEAPOT):
            self.assertIsNone(self.error_of({"type": "start", "status": status}))

    def test_bodies(self):
        """The application sends bytes in every form, and what is none."""
        start = {"type": "start", "status": 200}
        for body in (b"a", bytearray(b"a"), memoryview(b"a")):
            exchange = self.exchange()
            exchange.send(start).result()
            exchange.send({"type": "body", "body": body}).result()
            self.assertEqual(exchange.stream.said[-1], ("body", b"a", False))
        for bad in ("a", None, 5, [b"a"]):
            error = self.error_of(start, {"type": "body", "body": bad})
            self.assertIsInstance(error, ApplicationError, bad)

    def test_headers(self):
        """The application sends headers that nobody can send."""
        bad: tuple[tuple[Any, Any], ...] = (
            *(("x-a", b"1"), (b"x-a", "1"), (b"x a", b"1"), (b"", b"1"), (b"x:", b"1")),
            *((b"x-a", b"1\r\nx-b: 2"), (b"x-a", b"1\n"), (b"x-a", b"\x00"), (b"x-a", 5)),
            *((b"content-length", b"-1"), (b"content-length", b"1, 1"), (b"content-length", b"")),
        )
        for header in bad:
            client, call = self.wire()
            error = call.send("start", status=200, headers=[header]).exception()
            self.assertIsInstance(error, ApplicationError, header)
            call.answer()
            self.assertEqual(client.statuses(), [200])

    def test_conflicting_lengths(self):
        """The application tells two lengths of one body."""
        _, call = self.wire()
        headers = [(b"content-length", b"1"), (b"Content-Length", b"2")]
        error = call.send("start", status=200, headers=headers).exception()
        self.assertIsInstance(error, ApplicationError)

    def test_paths_and_files(self):
        """The application sends files that are none."""
        start = {"type": "start", "status": 200}
        for path in (None, 5, b"\x00"):
            error = self.error_of(start, {"type": "pathsend", "path": path})
            self.assertIsInstance(error, ApplicationError, path)
        missing = self.error_of(start, {"type": "pathsend", "path": "/no/such/file"})
        self.assertIsInstance(missing, FileNotFoundError)
        for file in (None, "name", object()):
            error = self.error_of(start, {"type": "zerocopysend", "file": file})
            self.assertIsInstance(error, ApplicationError, file)

    def test_file_parts(self):
        """The application names parts of a file that cannot be."""
        start = {"type": "start", "status": 200}
        with Path(__file__).open("rb") as file:
            for part in ({"offset": -1}, {"count": -1}, {"offset": "0"}, {"count": 1.0}):
                message = {"type": "zerocopysend", "file": file, **part}
                self.assertIsInstance(self.error_of(start, message), ApplicationError, part)

    def test_links(self):
        """The application hints at links that are no byte strings."""
        error = self.error_of({"type": "early_hint", "links": ["</a.css>"]})
        self.assertIsInstance(error, ApplicationError)
