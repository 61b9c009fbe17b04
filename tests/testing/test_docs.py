"""The examples of the page on testing run as they stand."""

from __future__ import annotations

import re
import shutil

from tests.support.browser import ARGUMENTS, CHROMIUM
from tests.test_docs import blocks, channels_files

from .projects import SETTINGS, ProjectTestCase

PAGE = "howto/testing.md"

# What "startproject" writes into the settings, and the project of the page on Channels needs.
MORE = """
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
INSTALLED_APPS += ["django.contrib.admin", "django.contrib.messages"]
MIDDLEWARE += [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
"""


class PageTests(ProjectTestCase):
    """The project of the page on Channels with the tests of the page on testing."""

    def setUp(self) -> None:
        super().setUp()
        self.write("mysite/settings.py", SETTINGS)
        self.add_settings(MORE)
        for path, text in channels_files():
            if path != "mysite/settings.py":
                self.write(path, text)
        self.write("chat/models.py", "")
        self.write("chat/tests/__init__.py", "")
        for text in blocks(PAGE, "python"):
            if name := re.match(r"# ([\w/]+\.py)\n", text):
                self.write(name[1], text)

    def test_django(self):
        """The reader runs the examples for Django's test cases."""
        names = ("live", "settings", "https")
        process = self.start("manage.py", "test", *(f"chat.tests.test_{name}" for name in names))
        process.wait()
        self.assert_passed(process, 5)

    def test_browser(self):
        """The reader runs the example for Playwright, with the Chromium of this machine."""
        program = next(filter(None, map(shutil.which, CHROMIUM)), None)
        if program is None:
            self.skipTest("missing: chromium")
        file = self.folder / "chat/tests/test_browser.py"
        arguments = [each.replace("127.0.0.1", "localhost") for each in ARGUMENTS]
        options = f"executable_path={program!r}, args={arguments!r}"
        file.write_text(file.read_text().replace("launch()", f"launch({options})"))
        process = self.start("manage.py", "test", "chat.tests.test_browser")
        process.wait()
        self.assert_passed(process, 1)

    def test_selenium(self):
        """The reader copies an example that is Python, if nothing that is installed here."""
        (text,) = [text for text in blocks(PAGE, "python") if "import webdriver" in text]
        compile(text, PAGE, "exec")

    def test_pytest(self):
        """The reader runs the examples for pytest."""
        process = self.run_pytest("chat/tests/test_fixture.py")
        self.assertEqual(process.wait(), 0, process)
        self.assertIn("2 passed", process.output)
