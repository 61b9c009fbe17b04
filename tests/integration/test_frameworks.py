"""FastAPI and Starlette over a real server."""

# FastAPI reads the annotations of the functions below, and could not look their names up if
# they were texts: so no "from __future__ import annotations" here.
import tempfile
import threading
import unittest
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from django.test import SimpleTestCase, tag

from tests.support.server import PATIENCE, serve

try:
    import python_multipart  # noqa: F401 - FastAPI wants it for uploads
    from fastapi import BackgroundTasks, FastAPI, UploadFile
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import FileResponse, StreamingResponse
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles
except ImportError as error:
    raise unittest.SkipTest(f"missing: {error.name}") from None


class Recorder:
    """Pass everything on to an application, and keep the types of its messages."""

    def __init__(self, application: Any) -> None:
        self.application = application
        self.sent: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def record(message: Any) -> None:
            self.sent.append(message["type"])
            await send(message)

        await self.application(scope, receive, record)


@tag("loop")
class FastAPITests(SimpleTestCase):
    """An API with a lifespan, uploads and background tasks."""

    def test_api(self):
        """The client validates, streams, uploads and starts work that goes on after the answer."""
        events: list[str] = []
        worked = threading.Event()

        @asynccontextmanager
        async def lifespan(api: FastAPI) -> AsyncIterator[dict[str, str]]:
            events.append("startup")
            yield {"database": "open"}
            events.append("shutdown")

        api = FastAPI(lifespan=lifespan)

        @api.get("/items/{number}")
        async def item(number: int) -> dict[str, int]:
            return {"number": number}

        @api.get("/state")
        async def state(request: Request) -> dict[str, str]:
            return {"database": request.state.database}

        @api.post("/upload")
        async def upload(file: UploadFile) -> dict[str, object]:
            return {"name": file.filename, "size": len(await file.read())}

        @api.post("/work")
        def work(background: BackgroundTasks) -> dict[str, bool]:
            background.add_task(worked.set)
            return {"worked": worked.is_set()}

        with (
            serve(api, lifespan="on") as server,
            httpx.Client(base_url=server.url, timeout=PATIENCE, trust_env=False) as client,
        ):
            self.assertEqual(events, ["startup"])
            self.assertEqual(client.get("/items/3").json(), {"number": 3})
            self.assertEqual(client.get("/items/x").status_code, 422)
            self.assertEqual(client.get("/state").json(), {"database": "open"})
            answer = client.post("/upload", files={"file": ("a.bin", bytes(300_000))})
            self.assertEqual(answer.json(), {"name": "a.bin", "size": 300_000})
            self.assertEqual(client.post("/work").json(), {"worked": False})
            self.assertTrue(worked.wait(PATIENCE))
            self.assertEqual(client.get("/openapi.json").json()["info"]["title"], "FastAPI")
        self.assertEqual(events, ["startup", "shutdown"])


@tag("loop")
class StarletteTests(SimpleTestCase):
    """A site with streams and files."""

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = Path(folder.name, "page.txt")
        self.file.write_bytes(b"0123456789" * 20_000)

        async def numbers() -> AsyncIterator[str]:
            for number in range(1000):
                yield f"{number}\n"

        async def stream(request: Request) -> StreamingResponse:
            return StreamingResponse(numbers())

        async def file(request: Request) -> FileResponse:
            return FileResponse(self.file)

        async def echo(request: Request) -> StreamingResponse:
            return StreamingResponse(request.stream())

        self.application = Recorder(
            Starlette(
                routes=[
                    Route("/stream", stream),
                    Route("/file", file),
                    Route("/echo", echo, methods=["POST"]),
                    Mount("/static", StaticFiles(directory=folder.name)),
                ]
            )
        )
        self.server = self.enterContext(serve(self.application))
        self.browser = self.enterContext(
            httpx.Client(base_url=self.server.url, timeout=PATIENCE, trust_env=False)
        )

    def test_stream(self):
        """The client reads a stream of many parts."""
        response = self.browser.get("/stream")
        self.assertEqual(response.text, "".join(f"{number}\n" for number in range(1000)))
        self.assertEqual(response.headers["transfer-encoding"], "chunked")

    def test_echo(self):
        """The client sends a body in pieces and reads it back while it is sent."""
        pieces = [bytes([number]) * 1000 for number in range(200)]
        response = self.browser.post("/echo", content=iter(pieces))
        self.assertEqual(response.content, b"".join(pieces))

    def test_files(self):
        """The client reads a file, which the server sends by its path."""
        for path in ("/file", "/static/page.txt"):
            with self.subTest(path):
                self.application.sent.clear()
                response = self.browser.get(path)
                self.assertEqual(response.content, self.file.read_bytes())
                self.assertEqual(response.headers["content-length"], "200000")
                self.assertIn("http.response.pathsend", self.application.sent)
                not_modified = self.browser.get(
                    path, headers={"If-None-Match": response.headers["etag"]}
                )
                expected = 304 if path.startswith("/static") else 200
                self.assertEqual(not_modified.status_code, expected)

    def test_range(self):
        """The client asks for a part of a file."""
        response = self.browser.get("/file", headers={"Range": "bytes=15-18"})
        self.assertEqual((response.status_code, response.content), (206, b"5678"))
        self.assertEqual(response.headers["content-range"], "bytes 15-18/200000")

    def test_missing(self):
        """The client asks for a file that is not there, or outside of the folder."""
        for path in ("/static/nothing", "/static/%2e%2e/%2e%2e/etc/passwd", "/nowhere"):
            self.assertEqual(self.browser.get(path).status_code, 404)
