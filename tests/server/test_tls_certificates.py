"""Certificate files: what is wrong with them, and when they are read again."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any

from django_daphne.server import ConfigurationError, ServerConfig, check_certificates
from django_daphne.server.certificates import Certificates
from django_daphne.server.tls import load_contexts
from tests.server.test_sockets import ordinary_user
from tests.support.tls import Pair, TLSTestCase

LOGGER = "django_daphne.server"
PASSWORD = "open sesame"


class CertificateTestCase(TLSTestCase):
    """A pair of files that is in order."""

    def setUp(self):
        super().setUp()
        self.leaf = self.issue("localhost")
        self.pair = Pair(self.folder, "site")
        self.pair.write(self.leaf)

    def refusal(self, **values: Any) -> str:
        """Return why the files cannot be used, without the folder."""
        with self.assertRaises(ConfigurationError) as caught:
            load_contexts(self.config(**self.pair.values | values), ())
        return str(caught.exception).replace(f"{self.folder}/", "")

    def encrypt(self, key: bytes, password: str = PASSWORD) -> bytes:
        """Return a key that asks for a password."""
        from cryptography.hazmat.primitives import serialization

        encryption = serialization.BestAvailableEncryption(password.encode())
        return serialization.load_pem_private_key(key, None).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )


class RefusalTests(CertificateTestCase):
    """Each mistake has its own line, which names the file."""

    def test_missing(self):
        """The operator names a file that is not there, or a directory."""
        self.assertEqual(
            self.refusal(certfile=[str(self.folder / "no.pem")]),
            "--certfile no.pem: no such file or directory.",
        )
        self.assertEqual(
            self.refusal(keyfile=[str(self.folder / "no.key")]),
            "--keyfile no.key: no such file or directory.",
        )
        self.assertRegex(self.refusal(keyfile=[str(self.folder)]), r"--keyfile .*: is a directory.")

    def test_unreadable(self):
        """The operator names a key that this user may not read."""
        self.pair.keyfile.chmod(0)
        with ordinary_user(self.folder):
            self.assertEqual(self.refusal(), "--keyfile site.key: permission denied.")

    def test_no_certificate(self):
        """The operator names a file with something else, or with half a certificate."""
        whole = self.pair.certfile.read_bytes()
        broken = whole.replace(b"MII", b"AAA", 1)
        for content in (b"", b"junk", whole[:200], self.pair.keyfile.read_bytes(), broken):
            self.pair.certfile.write_bytes(content)
            self.assertEqual(
                self.refusal(), "--certfile site.pem: there is no certificate in PEM format in it."
            )

    def test_no_key(self):
        """The operator names a file without a key."""
        for content in (b"", b"junk", self.pair.certfile.read_bytes()):
            self.pair.keyfile.write_bytes(content)
            self.assertEqual(
                self.refusal(), "--keyfile site.key: there is no private key in PEM format in it."
            )
        self.assertEqual(
            self.refusal(keyfile=[]),
            "--certfile site.pem: there is no private key in PEM format in it; --keyfile can name"
            " another file.",
        )

    def test_broken_key(self):
        """The operator names half a key."""
        whole = self.pair.keyfile.read_bytes()
        self.pair.keyfile.write_bytes(whole[:80])
        self.assertEqual(
            self.refusal(),
            "--keyfile site.key: the key, or the chain behind the certificate, is malformed.",
        )

    def test_mismatch(self):
        """The operator names the key of another certificate, of the same kind or not."""
        import trustme

        for kind in trustme.KeyType:
            other = self.authority.issue_cert("localhost", key_type=kind)
            self.pair.write_key(other)
            self.assertEqual(
                self.refusal(),
                "--keyfile site.key: the key does not belong to the first certificate in site.pem.",
            )

    def test_password(self):
        """The operator gives the password of a key, a wrong one, or none: nobody is asked."""
        self.pair.keyfile.write_bytes(self.encrypt(self.leaf.private_key_pem.bytes()))
        self.assertEqual(
            self.refusal(),
            "--keyfile site.key: the key is encrypted, and there is no --keyfile-password.",
        )
        wrong = self.refusal(keyfile_password="let me in")
        self.assertEqual(wrong, "--keyfile site.key: --keyfile-password does not open the key.")
        load_contexts(self.config(**self.pair.values, keyfile_password=PASSWORD), ())

    def test_one_file(self):
        """The operator has the key in the file of the certificate, also an encrypted one."""
        key = self.leaf.private_key_pem.bytes()
        for text in (key, self.encrypt(key)):
            self.pair.write_certificate(self.leaf)
            content = self.pair.certfile.read_bytes()
            for whole in (text + content, content + text):
                self.pair.certfile.write_bytes(whole)
                values = {"certfile": [str(self.pair.certfile)], "keyfile_password": PASSWORD}
                load_contexts(self.config(**values), ())
        self.assertEqual(
            self.refusal(keyfile=[]),
            "--certfile site.pem: the key is encrypted, and there is no --keyfile-password.",
        )

    def test_second(self):
        """The operator makes a mistake with the second certificate."""
        other = self.make_pair("other.example", file="other")
        other.keyfile.write_bytes(b"")
        both = (self.pair, other)
        text = self.refusal(
            certfile=[str(pair.certfile) for pair in both],
            keyfile=[str(pair.keyfile) for pair in both],
        )
        self.assertIn("--keyfile other.key: ", text)

    def test_authorities(self):
        """The operator names authorities that are none."""
        values = {"client_certificates": "required"}
        self.assertRegex(
            self.refusal(**values, ca_certs=str(self.folder / "no.pem")),
            r"\A--ca-certs no.pem: no such file or directory.\Z",
        )
        self.assertRegex(
            self.refusal(**values, ca_certs=str(self.pair.keyfile)),
            r"\A--ca-certs site.key: there is no certificate in PEM format in it.\Z",
        )

    def test_dates(self):
        """The operator has a certificate that has expired, which is a warning."""
        self.pair.write(self.issue("localhost", days=-1))
        config = ServerConfig().replace(**self.pair.values)
        with self.assertLogs(LOGGER, "WARNING") as logs:
            check_certificates(config)
        (text,) = (record.getMessage() for record in logs.records)
        self.assertRegex(text, r"--certfile .*site.pem: the certificate expired on \d{4}-\d\d-\d\d")
        with self.assertNoLogs():
            self.pair.write(self.leaf)
            check_certificates(config)
            check_certificates(ServerConfig())


class ContextTests(CertificateTestCase):
    """What is made of good files."""

    def test_strict(self):
        """The author of a client finds neither compression nor renegotiation."""
        (context,) = load_contexts(self.config(**self.pair.values), ("http/1.1",))
        for flag in (ssl.OP_NO_COMPRESSION, ssl.OP_NO_RENEGOTIATION):
            self.assertTrue(context.options & flag)
        suites = [cipher for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.2"]
        self.assertTrue(suites)
        for suite in suites:
            self.assertRegex(suite["name"], r"\AECDHE-.*(GCM|POLY1305)")

    def test_without_a_subject(self):
        """The authority leaves the subject empty, as some do: the names stand for it."""
        (context,) = load_contexts(self.config(**self.pair.values), ())
        self.assertRegex(str(context.certificate), r", valid until \d{4}-\d\d-\d\d \(.*site.pem\)")
        self.assertEqual(context.certificate.names, ("localhost",))


class RenewalTests(CertificateTestCase):
    """When files are read again, and what becomes of them."""

    def setUp(self):
        super().setUp()
        self.certificates = self.make()

    def make(self, **values: Any) -> Certificates:
        """Return the certificates of a server."""
        return Certificates(ServerConfig().replace(**self.pair.values | values), ("http/1.1",))

    def assert_renewed(self) -> None:
        """The next look finds other certificates, and the one after that finds nothing."""
        before = self.certificates.encryption
        with self.assertNoLogs():
            self.assertTrue(self.certificates.renew())
        self.assertIsNot(self.certificates.encryption, before)
        self.assert_unchanged()

    def assert_unchanged(self) -> None:
        """The next look finds nothing new, and says nothing."""
        before = self.certificates.encryption
        with self.assertNoLogs():
            self.assertFalse(self.certificates.renew())
        self.assertIs(self.certificates.encryption, before)

    def assert_kept(self, reason: str) -> None:
        """The next look finds something bad and says so; those after it say nothing."""
        before = self.certificates.encryption
        with self.assertLogs(LOGGER, "INFO") as logs:
            self.assertFalse(self.certificates.renew())
        (record,) = logs.records
        self.assertEqual(record.levelname, "ERROR")
        self.assertRegex(record.getMessage(), rf"\AThe certificates in use stay: .*{reason}")
        self.assertIs(self.certificates.encryption, before)
        self.assert_unchanged()

    def test_nothing(self):
        """The operator changes nothing."""
        self.assert_unchanged()

    def test_written(self):
        """The operator writes over the files, or renames others over them."""
        self.pair.write(self.issue("localhost"))
        self.assert_renewed()
        self.pair.rename(self.issue("localhost"))
        self.assert_renewed()

    def test_symbolic_link(self):
        """The cluster swaps a link to a directory, as Kubernetes does with a secret."""
        versions = []
        for number in range(2):
            folder = self.folder / f"version{number}"
            folder.mkdir()
            Pair(folder, "tls").write(self.issue("localhost"))
            versions.append(folder)
        data = self.folder / "data"
        data.symlink_to(versions[0])
        files = []
        for end in ("pem", "key"):
            (self.folder / f"tls.{end}").symlink_to(Path("data") / f"tls.{end}")
            files.append(str(self.folder / f"tls.{end}"))
        self.certificates = self.make(certfile=files[:1], keyfile=files[1:])
        self.assert_unchanged()
        (self.folder / "next").symlink_to(versions[1])
        (self.folder / "next").rename(data)
        self.assert_renewed()

    def test_half(self):
        """The look comes when one file of two has been written, or half of one."""
        leaf = self.issue("localhost")
        self.pair.write_certificate(leaf)
        self.assert_kept("the key does not belong")
        self.pair.keyfile.write_bytes(leaf.private_key_pem.bytes()[:100])
        self.assert_kept("malformed")
        self.pair.write_key(leaf)
        self.assert_renewed()

    def test_same_marks(self):
        """The file is mended in a way that no look can see: after a failure all are tried."""
        good = self.pair.certfile.read_bytes()
        self.pair.certfile.write_bytes(b"x" * len(good))
        self.assert_kept("no certificate")
        mark = self.pair.certfile.stat()
        self.pair.certfile.write_bytes(good)
        os.utime(self.pair.certfile, ns=(mark.st_atime_ns, mark.st_mtime_ns))
        self.assert_renewed()

    def test_missing(self):
        """The operator removes a file and puts it back."""
        content = self.pair.keyfile.read_bytes()
        self.pair.keyfile.unlink()
        self.assert_kept("no such file")
        self.pair.keyfile.write_bytes(content)
        self.assert_renewed()

    def test_authorities(self):
        """The operator accepts other clients."""
        path = self.write_authority()
        self.certificates = self.make(client_certificates="required", ca_certs=path)
        self.assert_unchanged()
        Path(path).write_bytes(b"")
        self.assert_kept("--ca-certs")
        self.write_authority()
        self.assert_renewed()

    def test_asked(self):
        """The operator asks for it: unchanged files are read, and a mistake is told each time."""
        self.assertTrue(self.certificates.renew(is_asked=True))
        self.pair.keyfile.write_bytes(b"")
        for _ in range(2):
            with self.assertLogs(LOGGER, "ERROR"):
                self.assertFalse(self.certificates.renew(is_asked=True))

    def test_expired(self):
        """The operator puts an expired certificate there, which is served with a warning."""
        self.pair.write(self.issue("localhost", days=-1))
        with self.assertLogs(LOGGER, "INFO") as logs:
            self.assertTrue(self.certificates.renew())
        self.assertEqual([each.levelname for each in logs.records], ["WARNING"])
