"""The tests of HTTP/2 over real sockets once more, with h2's engine in the place of ours.

What passes with both is about HTTP/2 and not about one way to read its frames. `LEFT_OUT` names the
tests that ask for what h2 does otherwise, each with its row of tests.server.test_http2_engines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from django.test import SimpleTestCase

from tests.server.test_http2_engines import DIFFERENCES
from tests.support.h2_engine import slotted
from tests.support.server import RunningServer, serve

from . import (
    test_http2_attacks,
    test_http2_flow,
    test_http2_frames,
    test_http2_priority,
    test_http2_resets,
    test_http2_responses,
    test_http2_rules,
)
from .http2 import HTTP2TestCase

MODULES = (
    test_http2_attacks,
    test_http2_flow,
    test_http2_frames,
    test_http2_priority,
    test_http2_resets,
    test_http2_responses,
    test_http2_rules,
)

# Class and test, as patterns, and the name of the difference.
LEFT_OUT = {
    r"RuleTests.test_body_(empty|far_too_long|for_none|long|short)": "content-length",
    r"RuleTests.test_length_bad_(?!\d{19}).*": "content-length",
    r"RuleTests.test_length_twice_(different|empty|none)_.*": "content-length",
    r"StreamTests.test_body_(long|long_in_pieces|short|short_empty)": "content-length",
    r"ByServerTests.test_body_too_(long|short)": "content-length",
    r"RuleTests.test_trailers_open": "open trailers",
    r"ByServerTests.test_bad_trailers": "open trailers",
    r"CountTests.test_too_many": "too many streams",
    r"WindowTests.test_stream_gives_back": "beyond a stream's window",
    r"CaseTests.test_(headers_)?priority_self": "dependency on itself",
    r"CaseTests.test_window_stream_zero(_reserved)?": "no increment",
    r"ByServerTests.test_window_zero(_running_on)?": "no increment",
    r"CaseTests.test_(priority_of|unknown_a)_\d": "size of PRIORITY or ALTSVC",
    r"ByServerTests.test_priority_length": "size of PRIORITY or ALTSVC",
    r"PrefaceTests.test_(acknowledgement_first|no_settings|ping_first)": "no SETTINGS",
    r"CaseTests.test_settings_no_rfc7540_priorities_2": "setting of RFC 9218",
    r"CaseTests.test_settings_ack_with_content": "SETTINGS with content that answer",
    r"CaseTests.test_headers_priority_padding": "padding within the priority",
    r"CaseTests.test_settings_good_header_table_size": "size of the table",
}


@contextmanager
def serve_with_h2(application: Any, **values: Any) -> Iterator[RunningServer]:
    """Serve an application; the connections have h2's engine."""
    with slotted(), serve(application, **values) as running:
        yield running


def cases(module: ModuleType) -> Iterator[type[HTTP2TestCase]]:
    """Yield the test cases of a module with the other engine."""
    for name, case in vars(module).items():
        if (
            isinstance(case, type)
            and issubclass(case, HTTP2TestCase)
            and case.__module__ == module.__name__
        ):
            values: dict[str, Any] = {
                "__doc__": f"{case.__doc__} With h2.",
                "__module__": __name__,
                "serve_http2": staticmethod(serve_with_h2),
                "tags": getattr(case, "tags", set()) - {"loop"},
            }
            values |= dict.fromkeys(left_out(name, case))
            yield type(f"{name}WithH2", (case,), values)


def left_out(name: str, case: type) -> list[str]:
    """Return the tests of a case that are left out."""
    return [
        test
        for test in dir(case)
        if any(re.fullmatch(pattern, f"{name}.{test}") for pattern in LEFT_OUT)
    ]


for _module in MODULES:
    for _case in cases(_module):
        globals()[_case.__name__] = _case


class TableTests(SimpleTestCase):
    """The table itself."""

    def test_names(self) -> None:
        """The author of a row names a difference that is known, and leaves some test out."""
        self.assertLessEqual({*LEFT_OUT.values()}, {each.name for each in DIFFERENCES})
        tests = [
            f"{name}.{test}"
            for module in MODULES
            for name, case in vars(module).items()
            for test in dir(case)
        ]
        for pattern in LEFT_OUT:
            self.assertTrue(any(re.fullmatch(pattern, test) for test in tests), pattern)
