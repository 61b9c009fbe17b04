"""The authority of a developer: its files, and the certificates by it."""

from __future__ import annotations

import os
import shutil
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock, skipUnless

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from django.test import SimpleTestCase

from django_daphne.management import local_authority
from django_daphne.management.local_authority import (
    AuthorityError,
    LocalAuthority,
    normal_name,
    user_folder,
)
from tests.support.processes import PATIENCE

NAMES = ("localhost", "127.0.0.1", "::1", "*.site.example", "bücher.example")


class AuthorityTestCase(SimpleTestCase):
    """Tests with a folder for an authority, which is not there yet."""

    def setUp(self) -> None:
        super().setUp()
        parent = self.enterContext(tempfile.TemporaryDirectory(prefix="django-daphne-"))
        self.folder = Path(parent) / "config" / "django-daphne"
        self.home = self.folder / "authority"

    def later(self, **time: float) -> LocalAuthority:
        """Return the authority as it is found some time from now."""
        return LocalAuthority(self.folder, now=datetime.now(UTC) + timedelta(**time))

    def assert_refused(self, text: str, **time: float) -> None:
        """The authority cannot be used, which is one line with this text."""
        with self.assertRaises(AuthorityError) as caught:
            self.later(**time)
        self.assertIn(text, str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))


class FolderTests(AuthorityTestCase):
    """The files are the user's, and are there once."""

    def test_modes(self):
        """The developer's umask hides nothing from anybody."""
        before = os.umask(0)
        try:
            authority = LocalAuthority(self.folder)
            file = authority.issue(NAMES)
        finally:
            os.umask(before)
        self.assertEqual(authority.certificate_file, self.home / "certificate.crt")
        found = {
            path.relative_to(self.folder).as_posix(): oct(stat.S_IMODE(path.stat().st_mode))
            for path in (self.folder, *self.folder.rglob("*"))
        }
        self.assertEqual(
            found,
            {
                ".": "0o700",
                "authority": "0o700",
                "authority/certificate.crt": "0o644",
                "authority/key.pem": "0o600",
                "certificates": "0o700",
                f"certificates/{file.name}": "0o600",
            },
        )

    def test_again(self):
        """The developer starts another server, which finds what the first one made."""
        first, second = LocalAuthority(self.folder), LocalAuthority(self.folder)
        self.assertEqual((first.is_new, second.is_new), (True, False))
        self.assertEqual(first.name, second.name)
        self.assertRegex(first.name, r"^django-daphne .+@.+$")

    def test_at_once(self):
        """The developer starts two servers at the same time, and one of them is quicker."""
        barrier, new_key = threading.Barrier(2), local_authority._new_key

        def new_key_together() -> local_authority._Key:
            barrier.wait(PATIENCE)  # both have seen that there is no authority
            return new_key()

        with (
            mock.patch.object(local_authority, "_new_key", new_key_together),
            ThreadPoolExecutor(2) as threads,
        ):
            found = [*threads.map(LocalAuthority, [self.folder] * 2)]
        self.assertEqual(sorted(each.is_new for each in found), [False, True])
        self.assertEqual(found[0]._certificate, found[1]._certificate)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["authority"])

    def test_others(self):
        """Others of the machine could have changed a file, or read the key."""
        file = LocalAuthority(self.folder).certificate_file
        for path, mode, text in (
            (self.folder, 0o770, f"Others can write to {self.folder}. Do: chmod 700 "),
            (self.home, 0o707, f"Others can write to {self.home}. Do: chmod 700 "),
            (file, 0o664, f"Others can write to {file}. Do: chmod 600 "),
            (self.home / "key.pem", 0o640, f"Others can read {self.home / 'key.pem'}. Do: chmod"),
        ):
            before = path.stat().st_mode
            path.chmod(mode)
            self.assert_refused(text)
            path.chmod(before)
        self.assertFalse(LocalAuthority(self.folder).is_new)

    def test_another_user(self):
        """The developer has made it as root once, and is not root now."""
        LocalAuthority(self.folder)
        with mock.patch.object(os, "geteuid", return_value=os.geteuid() + 1):
            self.assert_refused(f"{self.folder} belongs to another user.")

    def test_no_folder(self):
        """The developer's configuration folder is a file."""
        self.folder.parent.parent.mkdir(exist_ok=True)
        self.folder.parent.write_text("")
        self.assert_refused(f"{self.folder}: not a directory.")


class DamageTests(AuthorityTestCase):
    """What cannot be used is not repaired behind the developer's back."""

    def setUp(self) -> None:
        super().setUp()
        self.key = self.home / "key.pem"
        self.certificate = LocalAuthority(self.folder).certificate_file

    def assert_damaged(self, reason: str) -> None:
        """The developer is told what is wrong, and what to delete."""
        self.assert_refused(f"authority in {self.home} is damaged: {reason}. Delete that folder")

    def test_missing(self):
        """The developer has deleted one of the files."""
        for file in (self.key, self.certificate):
            kept = file.read_bytes()
            file.unlink()
            self.assert_damaged(f"there is no {file.name}")
            file.write_bytes(kept)
            file.chmod(0o600)
        LocalAuthority(self.folder)

    def test_contents(self):
        """The disk was full when one of the files was copied."""
        for file in (self.key, self.certificate):
            kept = file.read_bytes()
            for data in (b"", kept[:99], b"\xff\x00"):
                file.write_bytes(data)
                self.assert_damaged("its files are not what they were")
            file.write_bytes(kept)
        LocalAuthority(self.folder)

    def test_mismatch(self):
        """The developer has copied the key of another machine."""
        other = LocalAuthority(self.folder / "other").certificate_file.with_name("key.pem")
        shutil.copy(other, self.key)
        self.assert_damaged("its key does not belong to its certificate")

    def test_expired(self):
        """The developer has had it for ten years, deletes it as told, and has a new one."""
        last = self.later(days=3640)
        certificate = x509.load_pem_x509_certificate(last.issue(NAMES).read_bytes())
        authority = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        self.assertEqual(certificate.not_valid_after_utc, authority.not_valid_after_utc)
        day = f"{authority.not_valid_after_utc:%Y-%m-%d}"
        self.assert_refused(f"{self.home} expired on {day}. Delete that folder", days=3651)
        shutil.rmtree(self.home)
        self.assertTrue(self.later(days=3651).is_new)


class CertificateTests(AuthorityTestCase):
    """Clients that trust the authority trust its certificates, for the names and a year."""

    def setUp(self) -> None:
        super().setUp()
        self.authority = LocalAuthority(self.folder)
        self.file = self.authority.issue(NAMES)

    def shake_hands(self, file: Path, name: str) -> None:
        """Let a client that trusts the authority ask a server for a name."""
        trusting = ssl.create_default_context(cafile=str(self.authority.certificate_file))
        if sys.version_info >= (3, 13):
            self.assertTrue(trusting.verify_flags & ssl.VERIFY_X509_STRICT)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = trusting.wrap_bio(back, there, server_hostname=name)
        server = context.wrap_bio(there, back, server_side=True)
        for side in (client, server, client):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue

    def test_names(self):
        """The client asks for the names, and for others."""
        for name in ("localhost", "127.0.0.1", "::1", "a.site.example", "xn--bcher-kva.example"):
            self.shake_hands(self.file, name)
        for name in ("example", "127.0.0.2", "::2", "site.example", "a.b.site.example"):
            with self.subTest(name), self.assertRaises(ssl.SSLCertVerificationError):
                self.shake_hands(self.file, name)

    def test_dates(self):
        """The client's clock is late, and it refuses certificates for more than 398 days."""
        now = datetime.now(UTC)
        certificate = x509.load_pem_x509_certificate(self.file.read_bytes())
        life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        self.assertLessEqual(certificate.not_valid_before_utc, now - timedelta(hours=23))
        self.assertGreater(life, timedelta(days=390))
        self.assertLess(life, timedelta(days=398))

    def test_what_it_is_for(self):
        """The client finds an authority for servers that can make no other authorities."""
        data = self.authority.certificate_file.read_bytes()
        extensions = x509.load_pem_x509_certificate(data).extensions
        constraints = extensions.get_extension_for_class(x509.BasicConstraints)
        self.assertEqual((constraints.value.ca, constraints.value.path_length), (True, 0))
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
        self.assertEqual((usage.key_cert_sign, usage.digital_signature), (True, False))
        for file in (self.authority.certificate_file, self.file):
            extensions = x509.load_pem_x509_certificate(file.read_bytes()).extensions
            extended = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            self.assertEqual([*extended], [ExtendedKeyUsageOID.SERVER_AUTH])

    @skipUnless(shutil.which("openssl"), "missing: openssl")
    def test_openssl(self):
        """The client is OpenSSL, and strict."""
        trusted = ("-x509_strict", "-purpose", "sslserver", "-CAfile")
        done = subprocess.run(
            ["openssl", "verify", *trusted, str(self.authority.certificate_file), str(self.file)],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        self.assertEqual(done.stdout, f"{self.file}: OK\n", done.stderr)


class ReuseTests(AuthorityTestCase):
    """A certificate is made again only where it has to be."""

    def issue(self, names: Iterable[str] = NAMES, **time: float) -> tuple[Path, bytes]:
        """Return the file for names some time from now, and what is in it."""
        file = self.later(**time).issue(names)
        return file, file.read_bytes()

    def test_same(self):
        """The developer starts the server again, with the hosts in another order."""
        first = self.issue()
        upper = [name.upper() for name in reversed(NAMES)]
        self.assertEqual(self.issue([*upper, "localhost"]), first)
        self.assertEqual(self.issue(days=360), first)

    def test_other_names(self):
        """The developer has two projects, each with hosts of its own."""
        first = self.issue()
        file, _ = self.issue(["localhost"])
        self.assertNotEqual(file, first[0])
        self.assertEqual(self.issue(), first)

    def test_dates(self):
        """The developer comes back when it ends within a month, or had a clock that was early."""
        _, first = self.issue()
        _, second = self.issue(days=370)
        self.assertNotEqual(second, first)
        self.assertEqual(self.issue(days=700)[1], second)
        self.assertNotEqual(self.issue()[1], second)

    def test_useless(self):
        """The file is damaged, readable for others, of another authority, or for other names."""
        file, content = self.issue()
        other = LocalAuthority(self.folder / "other").issue(NAMES).read_bytes()
        fewer = LocalAuthority(self.folder).issue(["localhost"]).read_bytes()
        key_of_another = (
            content[: content.index(b"-----BEGIN PRIVATE")]
            + other[other.index(b"-----BEGIN PRIVATE") :]
        )
        for useless in (b"", content[:400], content[:-100], other, fewer, key_of_another):
            file.write_bytes(useless)
            again, renewed = self.issue()
            self.assertEqual(again, file)
            self.assertNotEqual(renewed, useless)
            self.assertEqual(self.issue(), (again, renewed))
        file.chmod(0o644)
        self.assertNotEqual(self.issue()[1], renewed)
        self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)

    def test_no_name(self):
        """The caller has no name, or one that no certificate can have."""
        authority = LocalAuthority(self.folder)
        for names in ([], ["localhost", "a b"]):
            with self.assertRaises(ValueError):
                authority.issue(names)


class NameTests(SimpleTestCase):
    """Names are brought into the form that certificates have."""

    def test_names(self):
        """The project's hosts are names, addresses, patterns and nonsense."""
        for name, expected in (
            ("Example.COM.", "example.com"),
            ("*.example.com", "*.example.com"),
            ("my_host", "my_host"),
            ("straße.example", "strasse.example"),
            ("0:0::1", "::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("10.0.0.1", "10.0.0.1"),
            *((name, None) for name in ("*", "", ".", "a..b", "*.*.example", "a.*", "-a", "a-")),
            *((name, None) for name in ("127.1", "1.2.3.4.5", "a:80", "[::1]", "a/b", "a\n")),
            ("x" * 64, None),
            (".".join(["x" * 60] * 5), None),
            ("ü" * 250, None),
        ):
            with self.subTest(name):
                self.assertEqual(normal_name(name), expected)

    def test_long_owner(self):
        """The developer's name and that of the machine are longer than a certificate takes."""
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch("getpass.getuser", return_value="ü" * 80),
        ):
            authority = LocalAuthority(Path(folder) / "a")
            self.assertTrue(authority.issue(["localhost"]).exists())


class UserFolderTests(SimpleTestCase):
    """The authority is kept where each platform has its configurations."""

    def test_platforms(self):
        """The developer has Linux, macOS or Windows."""
        home = Path.home()
        for platform, variables, expected in (
            ("linux", {}, home / ".config"),
            ("linux", {"XDG_CONFIG_HOME": "relative"}, home / ".config"),
            ("linux", {"XDG_CONFIG_HOME": "/etc/me"}, Path("/etc/me")),
            ("darwin", {}, home / "Library" / "Application Support"),
            ("win32", {}, home / "AppData" / "Local"),
            ("win32", {"LOCALAPPDATA": "/users/me"}, Path("/users/me")),
        ):
            with (
                self.subTest(platform=platform, variables=variables),
                mock.patch.object(sys, "platform", platform),
                mock.patch.dict(os.environ, variables),
            ):
                for name in {"XDG_CONFIG_HOME", "LOCALAPPDATA"} - variables.keys():
                    os.environ.pop(name, None)
                self.assertEqual(user_folder(), expected / "django-daphne")

    def test_homeless(self):
        """The service has no home."""
        with (
            mock.patch.dict(os.environ, {"XDG_CONFIG_HOME": ""}),
            mock.patch.object(Path, "home", side_effect=RuntimeError("no home")),
            self.assertRaisesRegex(AuthorityError, "^There is no home folder"),
        ):
            user_folder()
