"""What is wrong with a project's settings for files, said by the checks and at the start."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest import mock

from django.core.checks import run_checks

from django_daphne import public_files
from django_daphne.handlers import prepare_site
from django_daphne.public_files import serve_files
from django_daphne.server import ConfigurationError

from .support import FilesTestCase, application

BOTH = {"SERVE_STATIC": True, "SERVE_MEDIA": True}


class SettingsTests(FilesTestCase):
    """One line for each mistake, the same from the checks and from the command."""

    def refuse(self, *texts: str, checked: bool = True, **settings: Any) -> None:
        """The project is told what is wrong, at the start and, if it can be seen, by a check."""
        self.settings_are(**settings)
        with self.assertRaises(ConfigurationError) as caught:
            serve_files(application)
        lines = str(caught.exception).splitlines()
        self.assertEqual(len(lines), len(texts), lines)
        for line, text in zip(lines, texts, strict=True):
            self.assertIn(text, line)
        found = run_checks(tags=["django_daphne"])
        said = [f"{message.msg} {message.hint}" for message in found]
        self.assertEqual(said, lines if checked else [])
        self.assertLessEqual({message.id for message in found}, {"django_daphne.W010"})

    def test_off(self):
        """The project does not want it: nothing is around its application, nothing is wrong."""
        self.settings_are(DAPHNE={"DJANGO_HANDLER": "stock"}, STATIC_ROOT=None, MEDIA_ROOT="")
        self.assertIs(serve_files(application), application)
        self.assertIs(prepare_site(application), application)
        self.assertEqual(run_checks(tags=["django_daphne"]), [])

    def test_all_is_well(self):
        """The project has everything that it takes."""
        self.assertIsNot(prepare_site(application), application)
        self.assertEqual(run_checks(tags=["django_daphne"]), [])

    def test_no_root(self):
        """The project has no folders."""
        self.refuse(
            "SERVE_STATIC is on, but STATIC_ROOT is not set.",
            "SERVE_MEDIA is on, but MEDIA_ROOT is not set.",
            STATIC_ROOT=None,
            MEDIA_ROOT="",
        )

    def test_no_url(self):
        """The project has no URLs for them, or the top of the site."""
        for url in (None, "", "/", "https://cdn.example", "https://cdn.example/"):
            self.refuse("STATIC_URL is", STATIC_URL=url)
        self.settings_are(STATIC_URL="static/")
        for url in ("", "/", "https://media.example/"):
            self.refuse("MEDIA_URL is", MEDIA_URL=url)

    def test_no_folder(self):
        """The project has not collected its files yet, or has a file in the place of the folder."""
        self.refuse("is no folder", STATIC_ROOT=str(self.folder / "none"), checked=False)
        file = str(self.folder / "secret.txt")
        self.refuse("is no folder", "MEDIA_ROOT", checked=False, STATIC_ROOT=file, MEDIA_ROOT=file)

    def test_unreadable_folder(self):
        """The project's folder cannot be read by the server."""
        error = PermissionError(13, "Permission denied")
        with mock.patch.object(Path, "iterdir", side_effect=error):
            self.refuse("STATIC_ROOT cannot be read: [Errno 13]", checked=False)

    def test_settings_inside(self):
        """The project would serve its own settings."""
        self.refuse("has the project's settings in it", MEDIA_ROOT=str(Path(__file__).parents[2]))
        link = self.folder / "link"
        link.symlink_to(Path(__file__).parents[1])
        self.settings_are(MEDIA_ROOT=str(self.media))
        self.refuse("has the project's settings in it", STATIC_ROOT=link)

    def test_without_whitenoise(self):
        """The project has not installed the extra."""
        with mock.patch.object(public_files, "find_spec", return_value=None):
            self.refuse("is not installed. Install django-daphne[static].")

    def test_wrong_value(self):
        """The project's value is wrong, which other checks say."""
        self.settings_are(DAPHNE={"SERVE_STATIC": "maybe"})
        found = [message.id for message in run_checks(tags=["django_daphne"])]
        self.assertEqual(found, ["django_daphne.E004"])

    def test_nothing_is_imported(self):
        """The project that serves no files does not import WhiteNoise."""
        self.settings_are(DAPHNE={})
        kept = {name: each for name, each in sys.modules.items() if "whitenoise" not in name}
        with mock.patch.dict(sys.modules, kept, clear=True):
            serve_files(application)
            self.assertFalse([name for name in sys.modules if name.startswith("whitenoise")])
