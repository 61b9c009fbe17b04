"""What is asked of the servers: the application, the request, and the only right answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

# The servers run here, so that "trivial:app" names apps/trivial.py to all of them.
APPS = Path(__file__).resolve().parent / "apps"


@dataclass(frozen=True)
class Scenario:
    """Describe one kind of request and its answer.

    `application` is module:name in apps/. `answer` is the body that must come back with status
    200; `payload` is the body that goes out, ASCII only, empty for none.
    """

    name: str
    summary: str
    application: str
    answer: bytes
    method: str = "GET"
    payload: bytes = b""

    def script(self) -> str:
        """Return the Lua script that has wrk send the request and print its counts as JSON.

        The request is constant: wrk builds it once, and Lua runs only before and after the load.
        """
        request = f"wrk.method = {json.dumps(self.method)}\n"
        if self.payload:
            # For printable ASCII a string of JSON is a string of Lua.
            request += f"wrk.body = {json.dumps(self.payload.decode('ascii'))}\n"
        return request + _COUNTS

    def fault(self, status: int, body: bytes) -> str | None:
        """Return what is wrong with an answer, or None when it is right."""
        if status != 200:
            return f"status {status} instead of 200"
        if body != self.answer:
            sizes = f"{len(body)} bytes for {len(self.answer)}"
            return f"body {body[:40]!r} instead of {self.answer[:40]!r} ({sizes})"
        return None


# Times in microseconds, as wrk counts them.
_COUNTS = """
function done(summary, latency, requests)
   local errors = summary.errors
   print(string.format(
      '{"requests": %d, "microseconds": %d, "bytes": %d, "p50": %d, "p99": %d, "errors": '
         .. '{"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}',
      summary.requests, summary.duration, summary.bytes,
      latency:percentile(50), latency:percentile(99),
      errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
"""


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("trivial", "GET, 13 bytes of text", "trivial:app", b"Hello, world!"),
        Scenario("json1k", "GET, 1 KB of JSON", "json1k:app", b'{"text": "' + b"x" * 1012 + b'"}'),
        Scenario(
            "upload",
            "POST of 10 KB, read to its end",
            "upload:app",
            b"10240",
            method="POST",
            payload=b"x" * 10_240,
        ),
        Scenario(
            "stream",
            "GET, 100 KB in 100 pieces",
            "stream:app",
            b"0123456789abcdef" * 6_400,
        ),
    )
}
