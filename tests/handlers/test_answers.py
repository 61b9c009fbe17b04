"""Responses in the words of ASGI: their headers as bytes."""

from __future__ import annotations

from contextvars import copy_context
from typing import Any

from django.http import HttpResponse
from django.test import SimpleTestCase

from django_daphne.handlers import answers

PLAIN = (b"Content-Type", b"text/html; charset=utf-8")


def headers_of(response: HttpResponse) -> list[tuple[bytes, bytes]]:
    """Return the headers of the answer that a response makes."""
    return answers.make_answer(response, {}, copy_context()).headers


class HeaderTests(SimpleTestCase):
    """Headers that come again are encoded once."""

    def test_all_different(self):
        """More different headers come than are remembered: each is right, and few are kept."""
        for number in range(3000):
            response = HttpResponse(headers={"X-Number": str(number)})
            self.assertEqual(headers_of(response), [PLAIN, (b"X-Number", b"%d" % number)][::-1])
            self.assertLessEqual(len(answers._known), 1024)
        self.assertIs(*(headers_of(HttpResponse())[0] for _ in range(2)))

    def test_long(self):
        """Long values are not kept."""
        response = HttpResponse(headers={"X-Text": "x" * 10_000})
        self.assertIn((b"X-Text", b"x" * 10_000), headers_of(response))
        self.assertNotIn("x" * 10_000, {value for _, value in answers._known})

    def test_own_items(self):
        """A class of the project's has its own idea of its headers, which need not be texts."""

        class Response(HttpResponse):
            def items(self) -> Any:
                return [["X-Text", "ä"], (b"X-Bytes", bytearray(b"1"))]

        self.assertEqual(headers_of(Response()), [(b"X-Text", b"\xe4"), (b"X-Bytes", b"1")])

    def test_cookies(self):
        """Cookies come behind, each in a field of its own."""
        response = HttpResponse()
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        found = [value.partition(b";")[0] for _, value in headers_of(response)[1:]]
        self.assertEqual(found, [b"a=1", b"b=2"])
