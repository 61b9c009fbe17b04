"""TLS as it is measured: the same key, version and cipher for every server.

The certificate is the server's own, and no client of the benchmarks asks who signed it: what is
compared is the work of the servers, on this machine.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
from functools import lru_cache
from pathlib import Path

from websocket_client import ANSWER_SECONDS, WrongAnswer

MAKE_SECONDS = 10
# The names of what `make_certificate` makes.
CERTIFICATE_FILES = ("CERTIFICATE", "KEY")
# What every server takes from a client with OpenSSL's own preferences, whoever has the last word.
VERSION = "TLSv1.3"
CIPHER = "TLS_AES_256_GCM_SHA384"


def make_certificate(folder: Path) -> dict[str, str]:
    """Make a key (EC P-256, PKCS #8) and a certificate of 127.0.0.1; return where they are.

    The paths of the two PEM files are under `CERTIFICATE_FILES`. Raises what `subprocess.run` does.
    """
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    names = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    files = ("-keyout", str(key), "-out", str(certificate))
    subprocess.run(
        [*words.split(), *names, *files],
        stdin=subprocess.DEVNULL,
        stdout=2,
        stderr=subprocess.DEVNULL,
        timeout=MAKE_SECONDS,
        check=True,
    )
    return dict(zip(CERTIFICATE_FILES, (str(certificate), str(key)), strict=True))


@lru_cache
def _context(protocol: str | None) -> ssl.SSLContext:
    """Return what a client goes by.

    Once for all: one that reads who may sign takes so long that 32 connections would not be open
    before gunicorn closes the first, on which nothing has been asked for a second.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocol is not None:
        context.set_alpn_protocols([protocol])
    return context


def connect(port: int, protocol: str | None = None) -> ssl.SSLSocket:
    """Return a connection to this port of 127.0.0.1, by ALPN for `protocol` when it is given.

    Raises WrongAnswer when the server chooses otherwise, ConnectionRefusedError and other OSErrors.
    """
    raw = socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS)
    try:
        sock = _context(protocol).wrap_socket(raw)
    except OSError as error:
        raw.close()
        raise WrongAnswer(f"no TLS: {error!r}") from error
    cipher = sock.cipher()
    found = (sock.version(), cipher and cipher[0], sock.selected_alpn_protocol())
    if found != (VERSION, CIPHER, protocol):
        sock.close()
        raise WrongAnswer(f"TLS is {found!r} instead of {(VERSION, CIPHER, protocol)!r}")
    return sock
