"""Clients that speak WebSocket: Chromium, the package websockets, and the package ws for Node.js.

Chromium is in the hands of Playwright, which has a Node.js with ws in it. While Playwright runs,
its event loop counts as running in the thread of the test: so each test has a Playwright of its
own, and does nothing else with asyncio.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .processes import PATIENCE, Process, ProcessTestCase

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page
    from websockets.sync.client import ClientConnection
    from websockets.typing import Data

# Debian's name for it, and that of others.
CHROMIUM = ("chromium", "chromium-browser")

ARGUMENTS = (
    "--no-sandbox",  # root cannot have one
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Whatever it may want from elsewhere, it finds nobody there.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)

# It sends messages of the sizes to an echo, then fragments and a ping, waits for a ping, closes and
# prints what it saw.
CLIENT = """
    const { once } = require("events");
    const [bundle, address, sizes, compression] = process.argv.slice(2);
    const { ws: WebSocket } = require(bundle);

    async function main() {
      const socket = new WebSocket(address, { perMessageDeflate: compression === "deflate" });
      await once(socket, "open");
      for (const size of JSON.parse(sizes)) {
        for (const data of ["x".repeat(size), Buffer.alloc(size, "xyz")]) {
          socket.send(data);
          const [echo, isBinary] = await once(socket, "message");
          if (isBinary !== (typeof data !== "string")) throw new Error(`kind of ${size}`);
          if (!echo.equals(Buffer.from(data))) throw new Error(`echo of ${size}`);
        }
      }
      for (const [part, fin] of [["one, ", false], ["", false], ["two", true]]) {
        socket.send(part, { fin });
      }
      const [joined] = await once(socket, "message");
      socket.ping("are you there?");
      const [pong] = await once(socket, "pong");
      const [ping] = await once(socket, "ping"); // the server's own
      socket.close(4001, "enough");
      const [code, reason] = await once(socket, "close");
      const seen = [joined, pong, ping, socket.extensions, code, reason];
      console.log(JSON.stringify(seen.map((value) => `${value}`)));
    }
    main();
"""


class QuietTestCase(ProcessTestCase):
    """Tests whose servers have nothing to complain of."""

    def finish(self, process: Process) -> Process:
        """End a server that has logged no traceback."""
        super().finish(process)
        self.assertNotIn("Traceback", process.errors)
        return process


class BrowserTestCase(QuietTestCase):
    """Tests that may open windows of Chromium; skipped there without it."""

    def start_browser(self, home: Path | None = None) -> Browser:
        """Start Chromium without a screen, for a user with this home; it ends with the test."""
        try:
            from playwright.sync_api import sync_playwright
        except ImportError:
            self.skipTest("missing: playwright")
        program = next(filter(None, map(shutil.which, CHROMIUM)), None)
        if program is None:
            self.skipTest("missing: chromium")
        playwright = self.enterContext(sync_playwright())
        env: dict[str, str | float | bool] = {**os.environ}
        if home is not None:
            env["HOME"] = str(home)
        browser = playwright.chromium.launch(executable_path=program, args=[*ARGUMENTS], env=env)
        self.addCleanup(browser.close)
        return browser

    def open_window(self, browser: Browser, url: str) -> Page:
        """Open a window that has no cookies in common with others."""
        context = browser.new_context()
        # Milliseconds.
        context.set_default_timeout(PATIENCE * 1000)
        window = context.new_page()
        window.goto(url)
        return window


class WebSocketTestCase(QuietTestCase):
    """Tests with clients of the package websockets; skipped without it."""

    def setUp(self):
        super().setUp()
        if find_spec("websockets") is None:
            self.skipTest("missing: websockets")

    def address(self, server: Process, path: str) -> str:
        """Return the URL of a path."""
        return f"ws://127.0.0.1:{server.wait_for_port()}{path}"

    def open(self, server: Process, path: str, **options: Any) -> ClientConnection:
        """Open a WebSocket; it ends with the test."""
        from websockets.sync.client import connect

        options |= {"open_timeout": PATIENCE, "close_timeout": PATIENCE, "ping_interval": None}
        client: ClientConnection = connect(self.address(server, path), proxy=None, **options)
        return self.enterContext(client)

    def refused(self, server: Process, path: str, **options: Any) -> tuple[int, bytes]:
        """Return status and body of the answer to a handshake that is refused."""
        from websockets.exceptions import InvalidStatus

        with self.assertRaises(InvalidStatus) as caught:
            self.open(server, path, **options)
        response = caught.exception.response
        return response.status_code, bytes(response.body or b"")

    def receive(self, client: ClientConnection) -> Data:
        """Return the next message."""
        return client.recv(timeout=PATIENCE)

    def closed(self, client: ClientConnection) -> tuple[int, str]:
        """Return code and reason of the server's close frame, which has to come next."""
        from websockets.exceptions import ConnectionClosed

        with self.assertRaises(ConnectionClosed) as caught:
            self.receive(client)
        received = caught.exception.rcvd
        assert received is not None, "there was no close frame"
        return int(received.code), received.reason


class NodeTestCase(ProcessTestCase):
    """Tests that may use the package ws for Node.js; skipped there without it."""

    def start_client(self, url: str, sizes: Sequence[int], compression: str | None) -> Process:
        """Start the client of an echo, with "deflate" or no compression."""
        playwright = find_spec("playwright")
        origin = playwright.origin if playwright else None
        driver = Path(origin or "playwright").parent / "driver"
        bundle = driver / "package" / "lib" / "utilsBundle.js"
        if not bundle.exists():
            self.skipTest("missing: node's ws")
        script = self.write("client.cjs", CLIENT)
        arguments = [str(bundle), url, json.dumps(sizes), compression or "none"]
        return self.start_command([str(driver / "node"), str(script), *arguments])
