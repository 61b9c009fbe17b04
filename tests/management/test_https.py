"""The flags of TLS for runserver; tests.integration has the whole."""

from __future__ import annotations

import io
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from django.core.management import call_command
from django.core.management.base import CommandError, OutputWrapper
from django.test import SimpleTestCase, override_settings

from django_daphne import conf
from django_daphne.management import https
from django_daphne.management.commands.runserver import Command
from django_daphne.management.local_authority import LocalAuthority
from tests.test_docs import blocks

LOCAL = ["localhost", "127.0.0.1", "::1"]


class HTTPSTestCase(SimpleTestCase):
    """Tests with a configuration folder of their own."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(mock.patch.dict(os.environ, XDG_CONFIG_HOME=str(self.folder)))
        # A command that is called here is not that of this process.
        self.enterContext(mock.patch.object(conf, "_in_use", []))

    def values(self, host: str = "127.0.0.1", **flags: Any) -> tuple[dict[str, Any], str]:
        """Return what flags are made into, and what the developer is told."""
        output = io.StringIO()
        return https.tls_values(flags, host, OutputWrapper(output)), output.getvalue()


class NameTests(SimpleTestCase):
    """The certificate is for every name under which the server can be reached."""

    def test_names(self):
        """The project has hosts, patterns and mistakes among its hosts."""
        for host, allowed, expected in (
            ("127.0.0.1", [], []),
            ("0", ["*"], []),
            ("0.0.0.0", ["192.0.2.7"], ["192.0.2.7"]),
            ("::", ["[2001:db8::1]"], ["2001:db8::1"]),
            ("me.local", [".example.com"], ["me.local", "example.com", "*.example.com"]),
            ("192.0.2.7", ["LOCALHOST", "192.0.2.7"], ["192.0.2.7"]),
            ("localhost", ["a:8000", "[::1]:80", "https://a", "a b", "", ".", 5, None, "b"], ["b"]),
        ):
            with self.subTest(host=host, allowed=allowed):
                self.assertEqual(https.certificate_names(host, allowed), [*LOCAL, *expected])

    @override_settings(DEBUG=True)
    def test_debug(self):
        """The project has no hosts, and Django lets those of this machine in."""
        names = https.certificate_names("127.0.0.1", [])
        self.assertEqual(names, [*LOCAL, "*.localhost"])


class ValueTests(HTTPSTestCase):
    """What the flags say becomes the configuration of TLS."""

    def test_nothing(self):
        """The developer wants no TLS, and nothing is made."""
        values, told = self.values()
        self.assertEqual(values["certfile"], ())
        self.assertEqual(told, "")
        self.assertEqual([*self.folder.iterdir()], [])

    @override_settings(ALLOWED_HOSTS=["example.com"])
    def test_local(self):
        """The developer wants it, twice, and is told how to trust it once."""
        for expected in (1, 0):
            values, told = self.values(https=True, tls_min_version="1.3")
            (certfile,) = values["certfile"]
            certificate = str(self.folder / "django-daphne" / "authority" / "certificate.crt")
            self.assertEqual(told.count(f"  {certificate}\n"), expected)
            self.assertEqual(values["tls_min_version"], "1.3")
            authority = LocalAuthority(self.folder / "django-daphne")
            self.assertEqual(str(authority.issue([*LOCAL, "example.com"])), certfile)

    def test_own(self):
        """The developer has a certificate, with and without --https."""
        file = str(LocalAuthority(self.folder / "own").issue(["localhost"]))
        for is_wanted in (False, True):
            values, told = self.values(certfile=[file], https=is_wanted)
            self.assertEqual((values["certfile"], told), ((file,), ""))
        self.assertEqual([path.name for path in self.folder.iterdir()], ["own"])

    def test_platforms(self):
        """The developer is told what to do on Linux, macOS and Windows, with blanks in paths."""
        authority = LocalAuthority(self.folder / "my files")
        file = authority.certificate_file
        home = self.folder / "home"
        for platform, command in (
            ("linux", f"certutil -d sql:{home}/.pki/nssdb -A -t C,, -n '{authority.name}' -i '"),
            ("linux", f"sudo cp '{file}' /usr/local/share/ca-certificates/django-daphne.crt\n"),
            ("freebsd14", f"sudo cp '{file}' "),
            ("darwin", f"-k ~/Library/Keychains/login.keychain-db '{file}'\n"),
            ("win32", f'certutil -user -addstore Root "{file}"\n'),
        ):
            with (
                self.subTest(platform),
                mock.patch.object(sys, "platform", platform),
                mock.patch.dict(os.environ, HOME=str(home)),
            ):
                text = https._instructions(authority)
                self.assertIn(command, text)
                self.assertIn("docs/howto/development-https.md\n", text)

    def test_database(self):
        """The developer's Chromium has its certificates at a newer place."""
        (self.folder / ".local/share/pki/nssdb").mkdir(parents=True)
        with mock.patch.dict(os.environ, HOME=str(self.folder)):
            text = https._instructions(LocalAuthority(self.folder / "a"))
        self.assertIn(f"certutil -d sql:{self.folder}/.local/share/pki/nssdb -A", text)


class PageTests(SimpleTestCase):
    """The page on HTTPS in development says what is so."""

    def test_commands(self):
        """The developer copies the commands."""
        parser = Command().create_parser("manage.py", "runserver")
        lines = "".join(blocks("howto/development-https.md", "console"))
        commands = re.findall(r"(?m)^\$ python manage.py runserver (.*)$", lines)
        self.assertEqual(len(commands), 4)
        for flags in commands:
            given = vars(parser.parse_args(shlex.split(flags)))
            self.assertTrue(given["https"] or given["certfile"])


class Refusing(Command):
    """A command that must never come to serve."""

    def _serve(self, **options: Any) -> None:
        raise AssertionError("it serves")

    def _keep(self, *arguments: Any) -> int:
        raise AssertionError("it keeps a socket for those that serve")

    def inner_run(self, *arguments: Any, **options: Any) -> None:
        """Stand for Django's own server."""
        raise AssertionError("it serves with Django's server")


class MistakeTests(HTTPSTestCase):
    """Each mistake is a line before anything is listened on."""

    def assert_refused(self, text: str, *flags: str) -> None:
        """The command says this and does nothing."""
        with self.assertRaises(CommandError) as caught:
            call_command(Refusing(), "0", *flags)
        self.assertIn(text, str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))
        self.assertEqual([*self.folder.iterdir()], [])

    def test_flags(self):
        """The developer gives flags that do not go together."""
        needs = "--certfile has to be passed for this parameter."
        django = ("--noasgi", "--noreload")
        self.assert_refused("--https: the server of --noasgi", "--https", *django)
        self.assert_refused("--certfile: the server of --noasgi", "--certfile", "a", *django)
        self.assert_refused(f"flag --keyfile: {needs}", "--https", "--keyfile", "a")
        self.assert_refused(f"flag --ca-certs: {needs}", "--ca-certs", "a")
        self.assert_refused("flag --tls-min-version: '1'", "--https", "--tls-min-version", "1")

    def test_files(self):
        """The developer names a file that is not there."""
        for flags in ((), ("--https",), ("--noreload",)):
            text = "--certfile no.pem: no such file or directory."
            self.assert_refused(text, "--certfile", "no.pem", *flags)

    def test_settings(self):
        """The settings have certificates for production, of which one is replaced by a flag."""
        daphne = {"CERTFILE": ["a.pem", "b.pem"], "KEYFILE": ["a.key", "b.key"]}
        with override_settings(DAPHNE=daphne):
            self.assert_refused("--certfile no.pem: no such file", "--certfile", "no.pem")

    def test_authority(self):
        """Others can write where the authority would be."""
        folder = self.folder / "django-daphne"
        folder.mkdir()
        folder.chmod(0o777)
        with self.assertRaisesRegex(CommandError, "^Others can write to .*/django-daphne. Do: "):
            self.values(https=True)
