"""Conditions, ranges and codings, without any file."""

from __future__ import annotations

import os

from django.test import SimpleTestCase

from django_daphne.public_files.folders import Found
from django_daphne.public_files.responses import Answer, Representation, Request, represent

from .support import DATE, EARLIER, MODIFIED

LATER = b"Sun, 09 Sep 2001 01:46:41 GMT"
TAG = b'"3b9aca00-64"'


def make(size: int = 100, coding: bytes = b"") -> Representation:
    """Return a file of so many bytes."""
    status = os.stat_result((0o100644, 1, 1, 1, 0, 0, size, MODIFIED, MODIFIED, MODIFIED))
    headers = [(b"Content-Type", b"text/plain"), (b"Vary", b"Accept-Encoding")]
    headers += [(b"Content-Encoding", coding)] if coding else []
    return represent(Found(("file",), status), headers)


def answer(*fields: tuple[bytes, bytes], method: str = "GET", size: int = 100) -> Answer:
    """Return the answer to a request with these fields."""
    return Request(method, fields).answer(make(size))


class WholeTests(SimpleTestCase):
    """All of a file, and the methods."""

    def test_headers(self):
        """The client gets the file with its validators."""
        found = answer()
        self.assertEqual((found.status, found.offset, found.count), (200, 0, 100))
        fields = dict(found.headers)
        self.assertEqual(fields[b"ETag"], TAG)
        self.assertEqual(fields[b"Last-Modified"], DATE)
        self.assertEqual(fields[b"Accept-Ranges"], b"bytes")
        self.assertEqual(fields[b"Content-Length"], b"100")

    def test_tag_of_a_coding(self):
        """The client never takes a compressed file for the file itself."""
        self.assertEqual(make(coding=b"br").etag, b'"3b9aca00-64-br"')

    def test_other_methods(self):
        """The client may get and look, and nothing else."""
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get"):
            found = answer(method=method)
            self.assertEqual((found.status, found.count), (405, 0), method)
            self.assertIn((b"Allow", b"GET, HEAD"), found.headers)


class ConditionTests(SimpleTestCase):
    """What the client has already, or wants to be sure of."""

    def test_if_none_match(self):
        """The client says which it has: one, several, weakly, or any."""
        listed = b'"a,b", ' + TAG
        for value in (TAG, b"W/" + TAG, listed, b"*", b'W/"x",' + TAG):
            self.assertEqual(answer((b"if-none-match", value)).status, 304, value)
        for value in (b'"x"', b"", TAG[:-1], b'"3b9aca00-64-br"', TAG.strip(b'"')):
            self.assertEqual(answer((b"if-none-match", value)).status, 200, value)

    def test_two_fields(self):
        """The client sends its tags in two fields."""
        found = answer((b"if-none-match", b'"x"'), (b"if-none-match", TAG))
        self.assertEqual(found.status, 304)

    def test_if_modified_since(self):
        """The client says when it has got it; a tag says more."""
        expected = {DATE: 304, LATER: 304, EARLIER: 200, b"yesterday": 200, b"": 200, b"\xff": 200}
        for value, status in expected.items():
            self.assertEqual(answer((b"if-modified-since", value)).status, status, value)
        both = ((b"if-modified-since", LATER), (b"if-none-match", b'"x"'))
        self.assertEqual(answer(*both).status, 200)

    def test_what_304_says(self):
        """The client learns nothing that it knows, and no length."""
        found = answer((b"if-none-match", TAG))
        self.assertEqual([name for name, _ in found.headers], [b"Vary", b"ETag"])

    def test_preconditions(self):
        """The client wants what it has begun to fetch, or nothing."""
        expected = [
            ((b"if-match", TAG), 200),
            ((b"if-match", b"*"), 200),
            ((b"if-match", b"W/" + TAG), 412),
            ((b"if-match", b'"x"'), 412),
            ((b"if-unmodified-since", DATE), 200),
            ((b"if-unmodified-since", EARLIER), 412),
        ]
        for field, status in expected:
            self.assertEqual(answer(field).status, status, field)


class RangeTests(SimpleTestCase):
    """Parts of a file of 100 bytes."""

    def test_parts(self):
        """The client asks for a part, from the beginning or from the end."""
        expected = {
            b"bytes=0-0": (0, 1, b"bytes 0-0/100"),
            b"bytes=0-": (0, 100, b"bytes 0-99/100"),
            b"bytes=10-19": (10, 10, b"bytes 10-19/100"),
            b"bytes=99-": (99, 1, b"bytes 99-99/100"),
            b"bytes=90-1000": (90, 10, b"bytes 90-99/100"),
            b"bytes=-1": (99, 1, b"bytes 99-99/100"),
            b"bytes=-1000": (0, 100, b"bytes 0-99/100"),
            b"Bytes = 1-2": (1, 2, b"bytes 1-2/100"),
        }
        for value, (offset, count, span) in expected.items():
            found = answer((b"range", value))
            self.assertEqual((found.status, found.offset, found.count), (206, offset, count), value)
            fields = dict(found.headers)
            self.assertEqual(fields[b"Content-Range"], span)
            self.assertEqual(fields[b"Content-Length"], b"%d" % count)

    def test_no_such_part(self):
        """The client asks for what is behind the end."""
        for value in (b"bytes=100-", b"bytes=100-200", b"bytes=-0", b"bytes=999999999999999999-"):
            found = answer((b"range", value))
            self.assertEqual((found.status, found.count), (416, 0), value)
            self.assertIn((b"Content-Range", b"bytes */100"), found.headers)

    def test_all_of_it(self):
        """The client asks for several parts, for none, or in other words."""
        some = [b"bytes=0-1,3-4", b"bytes=5-4", b"bytes=-", b"bytes=", b"lines=0-1", b"bytes=a-b"]
        for value in (*some, b"bytes=--1", b"bytes=0-1-2", b"0-1", b"bytes=" + b"9" * 30 + b"-"):
            self.assertEqual(answer((b"range", value)).status, 200, value)

    def test_nothing_in_it(self):
        """The client asks for parts of an empty file."""
        for value in (b"bytes=0-", b"bytes=-5"):
            self.assertEqual(answer((b"range", value), size=0).status, 200, value)

    def test_looking(self):
        """The client only looks, which has no parts."""
        self.assertEqual(answer((b"range", b"bytes=0-1"), method="HEAD").status, 200)

    def test_if_range(self):
        """The client goes on with what it has, unless it has changed."""
        expected = {TAG: 206, b'"x"': 200, b"W/" + TAG: 200, DATE: 206, LATER: 200, b"x": 200}
        for value, status in expected.items():
            found = answer((b"range", b"bytes=0-1"), (b"if-range", value))
            self.assertEqual(found.status, status, value)


class CodingTests(SimpleTestCase):
    """Which of the files beside each other a client gets."""

    def chosen(self, *values: bytes) -> bytes:
        """Return the coding for these values of Accept-Encoding."""
        there = [make(10, b"br"), make(20, b"gzip"), make(100)]
        return Request("GET", [(b"accept-encoding", v) for v in values]).choose(there).coding

    def test_choice(self):
        """The client gets the smallest that it takes."""
        expected = {
            b"": b"",
            b"identity": b"",
            b"gzip": b"gzip",
            b"gzip, deflate, br, zstd": b"br",
            b"GZIP;q=0.5": b"gzip",
            b"*": b"br",
            b"br;q=0, *": b"gzip",
            b"identity;q=1, *;q=0": b"",
            b"br;q=0.000, gzip; q=0": b"",
            b"br;q=0.001": b"br",
            b"abrx, xgzip": b"",
            b"x-br;q=1;gzip": b"",
            b";;,": b"",
        }
        for value, coding in expected.items():
            self.assertEqual(self.chosen(value), coding, value)
        self.assertEqual(self.chosen(), b"")
        self.assertEqual(self.chosen(b"deflate", b"gzip"), b"gzip")
