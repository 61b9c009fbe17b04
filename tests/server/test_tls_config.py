"""The options of TLS: what they are called, and which of them contradict each other."""

from __future__ import annotations

import argparse
import unittest
from pathlib import Path
from typing import Any

from django_daphne.server import (
    ConfigurationError,
    ServerConfig,
    TLSConfig,
    add_arguments,
    describe,
    resolve,
)

ONE = {"certfile": ["a.pem"]}
SECRET = "correct horse"


def refusal(**values: Any) -> list[str]:
    """Return the lines about a configuration that cannot be used."""
    try:
        ServerConfig().replace(**values)
    except ConfigurationError as error:
        return str(error).splitlines()
    return []


def resolved(*flags: str, environ: dict[str, str] | None = None, **settings: Any) -> Any:
    """Return the configuration of flags, environment and settings."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(parser, core=True)
    return resolve(vars(parser.parse_args(flags)), environ or {}, settings)


class ValueTests(unittest.TestCase):
    """Values of single options."""

    def test_defaults(self):
        """The operator gives a certificate and nothing else."""
        config = ServerConfig().replace(**ONE)
        self.assertEqual(
            config.tls, TLSConfig(certfile=("a.pem",), tls_min_version="1.2", ciphers=None)
        )
        self.assertEqual(config.tls.client_certificates, "off")
        self.assertEqual(config.tls.certificate_check_interval, 10)
        self.assertEqual(config.timeouts.tls_handshake_timeout, 30)
        self.assertEqual(config.timeouts.tls_shutdown_timeout, 3)

    def test_sources(self):
        """The operator gives several certificates by flags, settings or environment."""
        expected = ("a.pem", "b.pem")
        for found in (
            resolved("--certfile", "a.pem", "--certfile", "b.pem"),
            resolved(CERTFILE=["a.pem", Path("b.pem")]),
            resolved(environ={"DJANGO_DAPHNE_CERTFILE": "a.pem,b.pem"}),
        ):
            self.assertEqual(found.config.tls.certfile, expected)

    def test_refused(self):
        """The operator gives values that are not allowed."""
        for values in (
            {"certfile": "a.pem"},
            {"certfile": [""]},
            {"certfile": ["a\0"]},
            {"certfile": [1]},
            {"keyfile": [""]},
            {"client_certificates": "yes"},
            {"tls_min_version": "1.1"},
            {"tls_min_version": 1.3},
            {"certificate_check_interval": 0},
            {"tls_handshake_timeout": 0},
            {"insecure_bind": ["a:b"]},
        ):
            (name,) = values
            with self.subTest(values):
                (line,) = refusal(**values)
                self.assertTrue(line.startswith(f"{name}: "), line)

    def test_ciphers(self):
        """The operator gives a list in which OpenSSL finds nothing."""
        for value in ("", "no-such-cipher", "!ALL"):
            with self.assertRaises(ConfigurationError) as caught:
                resolved("--certfile", "a.pem", "--ciphers", value)
            self.assertRegex(str(caught.exception), "^flag --ciphers: .* Expected a cipher list")
        resolved("--certfile", "a.pem", "--ciphers", "ECDHE+AESGCM:!AES128")


class SecretTests(unittest.TestCase):
    """The password is shown nowhere."""

    def test_table(self):
        """The operator prints the configuration."""
        found = resolved("--certfile", "a.pem", environ={"DJANGO_DAPHNE_KEYFILE_PASSWORD": SECRET})
        self.assertEqual(found.config.tls.keyfile_password, SECRET)
        table = describe(found)
        self.assertRegex(table, r"(?m)^keyfile_password +\(secret\) +environment DJANGO_DAPHNE_")
        self.assertRegex(describe(resolved()), r"(?m)^keyfile_password +none +default$")
        self.assertNotIn(SECRET, table + repr(found) + repr(found.config))

    def test_refusal(self):
        """The operator gives a password that is too long for OpenSSL."""
        long = SECRET * 100
        with self.assertRaises(ConfigurationError) as caught:
            resolved("--certfile", "a.pem", "--keyfile-password", long)
        text = str(caught.exception)
        self.assertEqual(
            text,
            "flag --keyfile-password: its value is not allowed. Expected a text of at most 1024"
            " bytes, or none.",
        )


class ContradictionTests(unittest.TestCase):
    """Values that rule each other out."""

    def test_without_certificate(self):
        """The operator asks something of TLS and has no certificate."""
        for values in (
            {"keyfile": ["a.key"]},
            {"keyfile_password": SECRET},
            {"ca_certs": "ca.pem"},
            {"client_certificates": "optional"},
            {"ciphers": "ECDHE+AESGCM"},
            {"tls_min_version": "1.3"},
        ):
            (name,) = values
            self.assertEqual(
                refusal(**values), [f"{name}: --certfile has to be passed for this parameter."]
            )
        self.assertEqual(refusal(certificate_check_interval=60), [])
        self.assertEqual(
            refusal(insecure_bind=["a:80"]),
            ["insecure_bind: without --certfile every address is plain: use --bind."],
        )

    def test_keys(self):
        """The operator gives more or fewer keys than certificates."""
        for certificates, keys in ((1, 2), (2, 1), (3, 2)):
            (line,) = refusal(certfile=["a"] * certificates, keyfile=["b"] * keys)
            start = f"keyfile: there are {keys} for {certificates} of --certfile;"
            self.assertTrue(line.startswith(start), line)
        for count in (0, 2):
            self.assertEqual(refusal(certfile=["a", "b"], keyfile=["k"] * count), [])

    def test_clients(self):
        """The operator asks clients for certificates of nobody, or trusts without asking."""
        self.assertEqual(
            refusal(**ONE, client_certificates="required"),
            ["client_certificates: --ca-certs has to say whose certificates are accepted."],
        )
        self.assertEqual(
            refusal(**ONE, ca_certs="ca.pem"),
            ["ca_certs: it means nothing without --client-certificates optional or required."],
        )

    def test_redirection(self):
        """The operator redirects from nowhere."""
        self.assertEqual(
            refusal(**ONE, redirect_to_https=True),
            ["redirect_to_https: --insecure-bind has to name what is redirected."],
        )
        self.assertEqual(refusal(**ONE, redirect_to_https=True, insecure_bind=["a:80"]), [])

    def test_ciphers(self):
        """The operator names suites of a version that is not spoken."""
        self.assertEqual(
            refusal(**ONE, ciphers="ECDHE+AESGCM", tls_min_version="1.3"),
            ["ciphers: they are those of TLS 1.2, which --tls-min-version 1.3 rules out."],
        )

    def test_origin(self):
        """The operator reads where a value was written."""
        with self.assertRaises(ConfigurationError) as caught:
            resolved("--keyfile", "a.key", CIPHERS="ECDHE+AESGCM")
        self.assertEqual(
            str(caught.exception).splitlines(),
            [
                "flag --keyfile: --certfile has to be passed for this parameter.",
                "settings.DAPHNE['CIPHERS']: --certfile has to be passed for this parameter.",
            ],
        )
