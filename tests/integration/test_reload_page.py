"""The page that shows why a project is broken, in a browser."""

from __future__ import annotations

from tests.integration.projects import RunserverTestCase
from tests.support.browser import BrowserTestCase


class PageTests(RunserverTestCase, BrowserTestCase):
    """Chromium looks at it."""

    def test_broken_and_mended(self):
        """The developer breaks an import, breaks it in another way, mends it, and only watches."""
        server = self.runserver("127.0.0.1:0")  # while the browser starts
        browser = self.start_browser()
        window = self.open_window(browser, f"http://127.0.0.1:{server.wait_for_port()}/")
        window.get_by_text("first").wait_for()
        urls = self.folder / "site_urls.py"
        text = urls.read_text()
        urls.write_text(f"import no_such_module  # <b>really</b>\n{text}")
        server.wait_for("Waiting for a file to change")
        window.reload()
        heading = window.get_by_role("heading")
        heading.get_by_text("ModuleNotFoundError: No module named 'no_such_module'").wait_for()
        window.get_by_text("import no_such_module  # <b>really</b>").wait_for()
        # From here on the page reloads itself.
        urls.write_text(f"{text}\n1 / 0")
        heading.get_by_text("ZeroDivisionError: division by zero").wait_for()
        urls.write_text(text)
        window.get_by_text("first").wait_for()
        self.interrupt(server, was_broken=True)
