"""What ASGI's extension "tls" says of a connection (ASGI TLS extension, 0.2).

``server_cert`` is the certificate that this connection was shown, ``client_cert_chain`` a tuple of
what the client has sent, its own certificate first, and ``client_cert_name`` that one's subject
(RFC 4514). Certificates are in PEM format. Version and cipher suite are the numbers that TLS itself
has for them (RFC 8446, sections 4.1.2 and B.4). A client that was let in with a certificate has a
good one, so ``client_cert_error`` is always None.
"""

from __future__ import annotations

import ssl
from functools import cache
from typing import Any, Final

_VERSIONS: Final = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}


def of_native(connection: Any) -> dict[str, object]:
    """Describe a connection by its ssl.SSLObject, whose context is a ``ServerContext``."""
    leaf = connection.getpeercert(binary_form=True)
    chain: list[bytes] = [leaf] if leaf else []
    if leaf and hasattr(connection, "get_unverified_chain"):  # Python 3.13
        # A session that goes on remembers the client's own certificate and no more.
        chain = connection.get_unverified_chain() or chain
    cipher = connection.cipher()
    return _describe(
        connection.context.certificate.pem,
        chain,
        _VERSIONS.get(connection.version()),
        None if cipher is None else cipher[0],
    )


def of_twisted(connection: Any) -> dict[str, object]:
    """Describe a connection by its OpenSSL.SSL.Connection."""
    own = connection.get_certificate()
    leaf = connection.get_peer_certificate()
    chain = [] if leaf is None else [_der(leaf)]
    for certificate in connection.get_peer_cert_chain() or () if chain else ():
        if (der := _der(certificate)) not in chain:
            chain.append(der)
    return _describe(
        None if own is None else ssl.DER_cert_to_PEM_cert(_der(own)),
        chain,
        connection.get_protocol_version(),
        connection.get_cipher_name(),
    )


def _describe(
    server_cert: str | None, chain: list[bytes], version: int | None, cipher: str | None
) -> dict[str, object]:
    return {
        "server_cert": server_cert,
        "client_cert_chain": tuple(map(ssl.DER_cert_to_PEM_cert, chain)),
        "client_cert_name": _subject(chain[0]) if chain else None,
        "client_cert_error": None,
        "tls_version": version,
        "cipher_suite": _cipher_suites().get(cipher or ""),
    }


def _subject(der: bytes) -> str | None:
    from cryptography import x509

    try:
        return x509.load_der_x509_certificate(der).subject.rfc4514_string()
    except ValueError:  # OpenSSL is less strict
        return None


def _der(certificate: Any) -> bytes:
    """Return a certificate of pyOpenSSL's in binary form."""
    from cryptography.hazmat.primitives.serialization import Encoding

    encoded: bytes = certificate.to_cryptography().public_bytes(Encoding.DER)
    return encoded


@cache
def _cipher_suites() -> dict[str, int]:
    """Return the numbers of the cipher suites by OpenSSL's names for them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    # Above the lower half OpenSSL keeps the version of TLS.
    return {cipher["name"]: cipher["id"] & 0xFFFF for cipher in context.get_ciphers()}
