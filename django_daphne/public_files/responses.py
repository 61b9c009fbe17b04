"""What a request for a file is answered: all of it, a part, or that the client has it already.

RFC 9110, sections 8.8 (validators), 12.5.3 (Accept-Encoding), 13 (conditions) and 14 (ranges). No
file is touched here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from django.utils.http import http_date, parse_http_date_safe

from .folders import Found

Header = tuple[bytes, bytes]

# A browser is to believe the Content-Type.
NEVER_GUESS: Final[Header] = (b"X-Content-Type-Options", b"nosniff")

# What the client has of a representation stays as it is, but for these (section 15.4.5).
_OF_NOT_MODIFIED: Final = frozenset(
    (b"cache-control", b"content-location", b"etag", b"expires", b"vary")
)
_ASKED: Final = frozenset(
    (
        *(b"accept-encoding", b"if-match", b"if-modified-since", b"if-none-match"),
        *(b"if-range", b"if-unmodified-since", b"range"),
    )
)
_ENTITY_TAG: Final = re.compile(rb'(?:W/)?"[^"]*"')
_RANGE: Final = re.compile(rb"bytes[ \t]*=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)
_NO_WEIGHT: Final = re.compile(rb"q[ \t]*=[ \t]*0(\.0{0,3})?")


@dataclass(frozen=True, slots=True)
class Representation:
    """A file of the disk in the words of HTTP; ``coding`` is its Content-Encoding, or empty.

    ``headers`` are those of a whole response, without Content-Length.
    """

    found: Found
    coding: bytes
    etag: bytes
    modified: int | None
    headers: tuple[Header, ...]

    @property
    def size(self) -> int:
        return self.found.status.st_size


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; its body are ``count`` bytes of the file from ``offset`` on."""

    status: int
    headers: Sequence[Header]
    offset: int = 0
    count: int = 0


def represent(found: Found, headers: Iterable[Header]) -> Representation:
    """Return a file with its headers and validators; a Last-Modified among them is kept.

    The tag is that of the file, with the coding: it must not be that of other bytes (8.8.3.3).
    """
    fields = {name.lower(): value for name, value in headers}
    coding, status = fields.get(b"content-encoding", b""), found.status
    made = [(name, value) for name, value in headers if name.lower() not in _MADE_HERE]
    modified = int(status.st_mtime)
    last = fields.get(b"last-modified") or http_date(modified).encode()
    ending = b"-" + coding if coding else b""
    tag = b'"%x-%x%b"' % (modified, status.st_size, ending)
    made += [(b"Last-Modified", last), (b"ETag", tag), (b"Accept-Ranges", b"bytes")]
    return Representation(found, coding, tag, _date(last), tuple(made))


_MADE_HERE: Final = frozenset((b"content-length", b"last-modified", b"etag", b"accept-ranges"))


class Request:
    """What the client says about the file that it wants."""

    def __init__(self, method: str, headers: Iterable[Header]) -> None:
        self.method = method
        self._fields: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in _ASKED:
                there = self._fields.get(name)
                self._fields[name] = value if there is None else b"%b, %b" % (there, value)

    def choose(self, representations: Sequence[Representation]) -> Representation:
        """Return the first one that the client takes; one without a coding it always does."""
        if len(representations) == 1:
            return representations[0]
        weights: dict[bytes, bool] = {}
        for item in self._fields.get(b"accept-encoding", b"").lower().split(b","):
            coding, *parameters = (part.strip() for part in item.split(b";"))
            weights[coding] = not any(map(_NO_WEIGHT.fullmatch, parameters))
        others = weights.get(b"*", False)
        return next(it for it in representations if not it.coding or weights.get(it.coding, others))

    def answer(self, it: Representation) -> Answer:
        """Return what to answer with one representation of the file."""
        if self.method not in ("GET", "HEAD"):
            return Answer(405, ((b"Allow", b"GET, HEAD"), (b"Content-Length", b"0")))
        if self._is_precluded(it):
            return Answer(412, ((b"Content-Length", b"0"),))
        if self._is_known(it):
            kept = [field for field in it.headers if field[0].lower() in _OF_NOT_MODIFIED]
            return Answer(304, kept)
        part = self._part(it)
        if part is None:
            return Answer(200, (*it.headers, _length(it.size)), 0, it.size)
        offset, count = part
        if count <= 0:
            size = b"bytes */%d" % it.size
            return Answer(416, ((b"Content-Range", size), (b"Content-Length", b"0")))
        span = b"bytes %d-%d/%d" % (offset, offset + count - 1, it.size)
        return Answer(206, (*it.headers, (b"Content-Range", span), _length(count)), offset, count)

    def _is_precluded(self, it: Representation) -> bool:
        """Tell whether the client wants nothing but what it has seen before, and this is other."""
        tags = self._fields.get(b"if-match")
        if tags is not None:
            return not _matches(tags, it.etag, weakly=False)
        date = _date(self._fields.get(b"if-unmodified-since"))
        return date is not None and it.modified is not None and it.modified > date

    def _is_known(self, it: Representation) -> bool:
        """Tell whether the client has it already."""
        tags = self._fields.get(b"if-none-match")
        if tags is not None:
            return _matches(tags, it.etag, weakly=True)
        date = _date(self._fields.get(b"if-modified-since"))
        return date is not None and it.modified is not None and it.modified <= date

    def _part(self, it: Representation) -> tuple[int, int] | None:
        """Return offset and size of the wanted part, a size of 0 where there is no such part.

        None is for all of it. That is also the answer to several ranges, and to what is no range.
        """
        match = _RANGE.fullmatch(self._fields.get(b"range", b""))
        if match is None or self.method != "GET" or not it.size or not self._is_unchanged(it):
            return None
        first, last = match.groups()
        if not first:
            count = min(int(last), it.size) if last else None
            return None if count is None else (it.size - count, count)
        begin, end = int(first), int(last) if last else it.size - 1
        return None if last and end < begin else (begin, min(end, it.size - 1) - begin + 1)

    def _is_unchanged(self, it: Representation) -> bool:
        """Tell whether a part would fit to what the client has (If-Range)."""
        value = self._fields.get(b"if-range")
        if value is None:
            return True
        if value.startswith((b'"', b"W/")):
            return _matches(value, it.etag, weakly=False)
        return it.modified is not None and _date(value) == it.modified


def _matches(tags: bytes, tag: bytes, *, weakly: bool) -> bool:
    if tags.strip() == b"*":
        return True
    if not weakly:
        return not tag.startswith(b"W/") and tag in _ENTITY_TAG.findall(tags)
    return tag.removeprefix(b"W/") in [
        each.removeprefix(b"W/") for each in _ENTITY_TAG.findall(tags)
    ]


def _date(value: bytes | None) -> int | None:
    return None if value is None else parse_http_date_safe(value.decode("latin1"))


def _length(size: int) -> Header:
    return b"Content-Length", b"%d" % size
