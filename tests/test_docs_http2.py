"""What the page on HTTP/2 says in figures is what the server goes by."""

from __future__ import annotations

import re

from django.test import SimpleTestCase
from h2.settings import SettingCodes

from django_daphne.server import OPTIONS
from django_daphne.server.protocols.http2_frames import NO_RFC7540_PRIORITIES, ErrorCode
from django_daphne.server.protocols.http2_limits import (
    ALLOWANCES,
    EARNED_BY_DATA,
    MAX_BLOCK_FRAMES,
    WORTH_EARNING,
)
from tests.server.http2_support import HTTP2Server
from tests.support.memory import Puppet
from tests.test_docs import UNITS, read, tables

PAGE = "topics/http2.md"
DEFAULTS = {item.name.upper(): item.default for item in OPTIONS}
OUR_NAMES = {"NO_RFC7540_PRIORITIES": NO_RFC7540_PRIORITIES} | {
    code.name: int(code) for code in SettingCodes
}


def table(*heads: str) -> list[list[str]]:
    """Return the rows of the one table of the page with these heads."""
    (found,) = (rows for head, _, *rows in tables(PAGE) if head[: len(heads)] == list(heads))
    return found


def size(text: str) -> int | None:
    """Return a number with its unit; None for what is none."""
    if text == "none":
        return None
    number, _, unit = text.partition(" ")
    return int(number) * UNITS[unit]


class FigureTests(SimpleTestCase):
    """The tables of the page have the server's figures."""

    def test_allowances(self):
        """The operator reads each allowance as it is counted."""
        rows = table("kind", "at once", "each second")
        listed = {kind: (int(most), int(rate)) for kind, most, rate, _ in rows}
        self.assertEqual(listed, ALLOWANCES)

    def test_vulnerabilities(self):
        """The auditor finds the name of an attack once among all that are listed."""
        names = re.findall(r"CVE-\d+-\d+|VU#\d+", read(PAGE))
        self.assertGreater(len(names), 8)
        self.assertEqual(len(names), len(set(names)))

    def test_numbers_in_sentences(self):
        """The operator reads the other bounds as they are in the code."""
        text = " ".join(read(PAGE).split())
        for sentence in (
            f"DATA that was sent adds {EARNED_BY_DATA} to the allowance of WINDOW_UPDATE",
            f"cut it to fewer than {WORTH_EARNING} bytes",
            f"comes in more than {MAX_BLOCK_FRAMES} frames",
            f"{MAX_BLOCK_FRAMES} frames and `MAX_HEADER_SIZE` for a block of fields",
        ):
            self.assertIn(sentence, text)

    def test_defaults(self):
        """The operator reads settings with their defaults, and misses none of HTTP/2."""
        checked = set()
        for head, _, *rows in tables(PAGE):
            if "default" in head:
                column = head.index("default")
                for row in rows:
                    names = re.findall(r"`(\w+)`", row[column - 1])
                    for name, value in zip(names, row[column].split(", "), strict=bool(names)):
                        with self.subTest(name):
                            self.assertEqual(DEFAULTS[name], size(value))
                        checked.add(name)
        ours = {name for name in DEFAULTS if name.startswith("HTTP2")}
        self.assertEqual(ours - checked, {"HTTP2", "HTTP2_PRIOR_KNOWLEDGE"})
        self.assertGreater(len(checked), 12)

    def test_names(self):
        """The reader finds no setting on the page that is not there."""
        named = set(re.findall(r"`([A-Z0-9]+(?:_[A-Z0-9]+)+)`", read(PAGE))) | {"HTTP2"}
        self.assertEqual(named - set(DEFAULTS), set())

    def test_codes(self):
        """The reader finds codes of RFC 9113 in the tables and no others."""
        codes = set(re.findall(r"\b([A-Z_]+_ERROR|CANCEL|REFUSED_\w+|\w+_CALM)\b", read(PAGE)))
        self.assertGreater(len(codes), 4)
        self.assertEqual(codes - {code.name for code in ErrorCode}, set())


class SettingsTests(SimpleTestCase):
    """The table of SETTINGS is what a client is told."""

    def test_first_frames(self):
        """The client gets the settings that the page lists, and no other, and the window."""
        server = HTTP2Server(Puppet())
        self.addCleanup(server.close)
        client = server.speak()
        frame = client.conversation.log[0]
        told = {
            int.from_bytes(frame.payload[start : start + 2]): int.from_bytes(
                frame.payload[start + 2 : start + 6]
            )
            for start in range(0, len(frame.payload), 6)
        }
        rows = table("setting", "value")
        listed = {OUR_NAMES[name]: size(default or value) for name, value, default in rows}
        self.assertEqual(told, listed)
        self.assertEqual(client.conversation.window, DEFAULTS["HTTP2_CONNECTION_WINDOW"])
        self.assertIn("`HTTP2_CONNECTION_WINDOW` (8 MiB)", read(PAGE))
