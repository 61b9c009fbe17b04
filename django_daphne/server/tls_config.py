"""The options of TLS.

One context speaks for all certificates (see `tls`), so none of these can differ between them.
"""

from __future__ import annotations

from typing import Literal

from .options import Group, option

# OpenSSL reads a password into so many bytes.
_MAX_PASSWORD = 1024

# Ephemeral keys and authenticated encryption alone: what RFC 9113, section 9.2.2 leaves for HTTP/2.
DEFAULT_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def _has_ciphers(value: str) -> bool:
    import ssl  # most processes that read the configuration do not serve

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(value)
    except ssl.SSLError:
        return False
    return True


class TLSConfig(Group, title="TLS"):
    """Say which certificates the server has, and what it asks of TLS."""

    certfile: tuple[str, ...] = option(
        (),
        help="A PEM file with a certificate, and its chain behind it; of several the client's SNI"
        " chooses, or the first is taken.",
        path=True,
        rule=all,
        allowed="a list of paths",
    )
    keyfile: tuple[str, ...] = option(
        (),
        help="The PEM file with the key of a certificate, in the order of the certificates; without"
        " any, the keys are beside the certificates.",
        path=True,
        rule=all,
        allowed="a list of paths",
    )
    keyfile_password: str | None = option(
        None,
        help="The password of encrypted keys; as a flag other users of the machine can see it.",
        secret=True,
        rule=lambda value: len(value.encode()) <= _MAX_PASSWORD,
        allowed=f"a text of at most {_MAX_PASSWORD} bytes",
    )
    ca_certs: str | None = option(
        None,
        help="A PEM file with the authorities whose client certificates are accepted.",
        path=True,
    )
    client_certificates: Literal["off", "optional", "required"] = option(
        "off",
        help="Whether clients are asked for a certificate; required leaves none in without one.",
    )
    ciphers: str | None = option(
        None,
        help="The cipher suites of TLS 1.2, as a list that OpenSSL understands.",
        none_means=DEFAULT_CIPHERS,
        rule=_has_ciphers,
        allowed="a cipher list of OpenSSL with at least one suite for TLS 1.2",
    )
    tls_min_version: Literal["1.2", "1.3"] = option("1.2", help="The oldest version of TLS.")
    certificate_check_interval: float | None = option(
        10,
        help="How often the files are looked at; new ones serve new connections.",
        unit="seconds",
        minimum=0.001,
        none_values=(-1,),
        none_means="never",
    )
    redirect_to_https: bool = option(
        False, help="Answer what comes by --insecure-bind with a redirection to https."
    )
