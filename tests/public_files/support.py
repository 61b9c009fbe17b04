"""A site with files, served in memory in front of an application that only says its path."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from django.test import override_settings

from django_daphne import conf
from django_daphne.public_files import serve_files
from tests.compliance import Response
from tests.support.memory import MemoryServer, WireTestCase
from tests.test_checks import set_environ

# 2001-09-09 01:46:40 UTC.
MODIFIED = 1_000_000_000
DATE = b"Sun, 09 Sep 2001 01:46:40 GMT"
EARLIER = b"Sun, 09 Sep 2001 01:46:39 GMT"
SCRIPT = b"alert(1);\n" * 20


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the path, and with the method."""
    text = f"{scope['method']} {scope['path']}"
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": text.encode("utf-8", "replace")})


class FilesTestCase(WireTestCase):
    """Tests with folders of their own, both served unless a test says otherwise."""

    served: Mapping[str, object] = {"SERVE_STATIC": True, "SERVE_MEDIA": True}

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory())).resolve()
        self.static, self.media = self.folder / "static", self.folder / "media"
        self.static.mkdir()
        self.media.mkdir()
        self.write("secret.txt", b"secret")
        self.enterContext(set_environ())
        self.enterContext(mock.patch.object(conf, "_in_use", []))
        self.settings_are(
            DAPHNE=dict(self.served),
            STATIC_ROOT=str(self.static),
            STATIC_URL="static/",
            MEDIA_ROOT=str(self.media),
            MEDIA_URL="media/",
        )
        self._server: MemoryServer | None = None

    def settings_are(self, **values: Any) -> None:
        """Change settings for the rest of the test."""
        self.enterContext(override_settings(**values))

    def write(self, path: str, data: bytes = SCRIPT, modified: int = MODIFIED) -> Path:
        """Write a file below the folder of the test."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        os.utime(file, (modified, modified))
        return file

    def start(self, inner: Any = application, **values: Any) -> MemoryServer:
        """Start the server, which looks at the files; ``ask`` does it otherwise."""
        self._server = self.serve(serve_files(inner), **values)
        return self._server

    def ask(self, target: str | bytes, *fields: bytes, method: str = "GET") -> Response:
        """Return the answer to a request."""
        server = self._server or self.start()
        done = len(server.access)
        client = server.connect()
        target = target.encode("ascii") if isinstance(target, str) else target
        lines = [b"%b %b HTTP/1.1" % (method.encode(), target), b"Host: a", *fields, b"", b""]
        client.send(b"\r\n".join(lines))
        server.wait_until(lambda: len(server.access) > done)
        (response,) = client.responses(method)
        self.assertTrue(response.complete)
        return response

    def status(self, target: str | bytes, *fields: bytes, method: str = "GET") -> int:
        """Return the status of the answer."""
        return self.ask(target, *fields, method=method).status

    def assert_passed_on(self, target: str | bytes, *fields: bytes, method: str = "GET") -> None:
        """The application gets the request."""
        response = self.ask(target, *fields, method=method)
        self.assertTrue(response.body.startswith(f"{method} ".encode()), (target, response))
