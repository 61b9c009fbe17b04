"""Certificates: files read, checked, and made into contexts of TLS.

OpenSSL takes certificate and key from files and says little of what is wrong with them. So they are
read here first, and each thing that may be wrong has a text of its own. Nothing is ever loaded into
a context that is in use: a key that does not fit would leave it without a certificate.

Each certificate has a context of its own, and the first of them asks the client for the name that
it wants and hands over to another. OpenSSL takes nothing but certificate, key and ALPN from that
one: all contexts of a server are otherwise the same.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from .config import ServerConfig
from .exceptions import ConfigurationError
from .tls_config import DEFAULT_CIPHERS, TLSConfig

if TYPE_CHECKING:
    from cryptography import x509

logger = logging.getLogger("django_daphne.server")

# OpenSSL's names for a key that does not belong to the certificate.
_MISMATCHES: Final = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_VERIFY_MODES: Final = {
    "off": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


class Certificate(NamedTuple):
    """A certificate of the server: what its file says.

    ``pem`` is the certificate without its chain. ``names`` are in lower case: names of hosts,
    with and without a wildcard, and IP addresses.
    """

    file: str
    pem: str
    subject: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime

    def __str__(self) -> str:
        return f"{self.subject}, valid until {self.not_after:%Y-%m-%d} ({self.file})"


class ServerContext(ssl.SSLContext):
    """A context that knows which certificate it has."""

    certificate: Certificate


class Encryption(NamedTuple):
    """What listeners need for TLS: the contexts, the first for every client, and their patience.

    The timeouts are in seconds, for the handshake and for the client's answer to our close_notify;
    None waits for ever.
    """

    contexts: tuple[ServerContext, ...]
    handshake_timeout: float | None
    shutdown_timeout: float | None


def load_contexts(config: TLSConfig, alpn: Sequence[str]) -> list[ServerContext]:
    """Return a context for each certificate, the first of which chooses among them; blocks.

    ``alpn`` are the protocols to agree on, the best first. Raise ConfigurationError naming the file
    that cannot be used and why.
    """
    keyfiles = config.keyfile or (None,) * len(config.certfile)
    contexts = [
        _make_context(config, alpn, certfile, keyfile)
        for certfile, keyfile in zip(config.certfile, keyfiles, strict=True)
    ]
    if len(contexts) > 1:
        contexts[0].sni_callback = _chooser(contexts)
    return contexts


def check_certificates(config: ServerConfig) -> None:
    """Read the certificates as a server would, and warn of those that are out of date.

    Raise ConfigurationError as ``load_contexts`` does.
    """
    if config.tls.certfile:
        warn_of_dates(load_contexts(config.tls, ()))


def warn_of_dates(contexts: Sequence[ServerContext]) -> None:
    """Log each certificate that clients will refuse today."""
    now = datetime.now(UTC)
    for certificate in (context.certificate for context in contexts):
        if certificate.not_after < now:
            text = f"expired on {certificate.not_after:%Y-%m-%d}"
        elif certificate.not_before > now:
            text = f"is not valid before {certificate.not_before:%Y-%m-%d}"
        else:
            continue
        logger.warning("--certfile %s: the certificate %s", certificate.file, text)


def _make_context(
    config: TLSConfig, alpn: Sequence[str], certfile: str, keyfile: str | None
) -> ServerContext:
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[config.tls_min_version]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(config.ciphers or DEFAULT_CIPHERS)
    context.set_alpn_protocols(list(alpn))
    context.certificate = _read_certificate(certfile)
    _load_key(context, certfile, keyfile, config.keyfile_password)
    if config.ca_certs is not None:
        _read_certificates("--ca-certs", config.ca_certs)
        try:
            context.load_verify_locations(config.ca_certs)
        except OSError as error:
            raise _refusal("--ca-certs", config.ca_certs, _reason(error)) from None
    context.verify_mode = _VERIFY_MODES[config.client_certificates]
    return context


def _read_certificate(file: str) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    certificate = _read_certificates("--certfile", file)[0]
    names: list[str] = []
    try:
        subject = certificate.subject.rfc4514_string()
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names += found.get_values_for_type(x509.DNSName)
        names += map(str, found.get_values_for_type(x509.IPAddress))
    except x509.ExtensionNotFound:
        pass
    except ValueError as error:
        raise _refusal("--certfile", file, f"its certificate is malformed: {error}") from None
    return Certificate(
        file=file,
        pem=certificate.public_bytes(Encoding.PEM).decode("ascii"),
        subject=subject or ", ".join(names),
        names=tuple(map(str.lower, names)),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def _read_certificates(flag: str, file: str) -> list[x509.Certificate]:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(_read(flag, file))
    except ValueError:
        raise _refusal(flag, file, "there is no certificate in PEM format in it") from None


def _load_key(
    context: ServerContext, certfile: str, keyfile: str | None, password: str | None
) -> None:
    """Load certificate and key into a new context."""
    flag, file = ("--certfile", certfile) if keyfile is None else ("--keyfile", keyfile)
    if b"PRIVATE KEY-----" not in _read(flag, file):
        more = "; --keyfile can name another file" if keyfile is None else ""
        raise _refusal(flag, file, f"there is no private key in PEM format in it{more}")
    given: list[str] = []

    def give_password() -> str:
        # Without it OpenSSL would ask on the terminal, and wait.
        if password is None:
            raise _refusal(flag, file, "the key is encrypted, and there is no --keyfile-password")
        given.append(password)
        return password

    try:
        context.load_cert_chain(certfile, keyfile, give_password)
    except ssl.SSLError as error:
        if error.reason in _MISMATCHES:
            reason = f"the key does not belong to the first certificate in {certfile}"
        elif error.reason:
            reason = _reason(error)
        elif given:
            reason = "--keyfile-password does not open the key"
        else:
            reason = "the key, or the chain behind the certificate, is malformed"
        raise _refusal(flag, file, reason) from None
    except OSError as error:  # it was there a moment ago
        raise _refusal(flag, file, _reason(error)) from None


def _read(flag: str, file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise _refusal(flag, file, _reason(error)) from None


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    return (error.strerror or str(error)).lower()


def _refusal(flag: str, file: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"{flag} {file}: {reason}.")


def _chooser(
    contexts: Sequence[ServerContext],
) -> Callable[[ssl.SSLObject, str | None, ssl.SSLContext], None]:
    """Return what takes the context for the name that a client asks for, if there is one.

    A name stands before a wildcard, and of equals the first. A wildcard stands for one label
    (RFC 9525, section 6.3). Nothing here may raise: OpenSSL would drop the client.
    """
    names: dict[str, ServerContext] = {}
    wildcards: dict[str, ServerContext] = {}
    for context in contexts:
        for name in context.certificate.names:
            label, _, parent = name.partition(".")
            table, key = (wildcards, parent) if label == "*" else (names, name)
            table.setdefault(key, context)

    def choose(connection: ssl.SSLObject, name: str | None, default: ssl.SSLContext) -> None:
        if name is not None:
            wanted = name.lower().removesuffix(".")
            found = names.get(wanted) or wildcards.get(wanted.partition(".")[2])
            if found is not None:
                connection.context = found

    return choose
