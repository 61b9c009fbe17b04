"""A certificate authority of the developer's own, and certificates by it for development.

    FOLDER/authority/certificate.crt    what browsers are told to trust
    FOLDER/authority/key.pem            what nobody else may have
    FOLDER/certificates/*.pem           a certificate, the authority's behind it, and its key

The authority comes to its place as a whole folder, by one rename: it is there or it is not, and of
two processes that make one the first wins.
"""

from __future__ import annotations

import getpass
import hashlib
import ipaddress
import os
import re
import shlex
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# It has to be trusted by hand, so it lasts.
_AUTHORITY_LIFE: Final = timedelta(days=10 * 365)
# Browsers refuse what is valid for more than 398 days.
_LIFE: Final = timedelta(days=397)
# A certificate that ends sooner is made again.
_REST: Final = timedelta(days=30)
# Clocks of phones and virtual machines are late.
_SKEW: Final = timedelta(days=1)

# The most that X.509 has room for (RFC 5280, appendix A.1), in bytes.
_MAX_COMMON_NAME: Final = 64
_MAX_HOST_NAME: Final = 253
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME: Final = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")

_ANEW: Final = "Delete that folder, and the next start makes another one, to be trusted anew."
# What is raised for a file that is none of ours any more.
_MALFORMED: Final = (ValueError, TypeError, UnsupportedAlgorithm, x509.ExtensionNotFound)
_WRITE: Final = 0o022
_READ_OR_WRITE: Final = 0o077

_Key: TypeAlias = ec.EllipticCurvePrivateKey


class AuthorityError(Exception):
    """An authority cannot be used; the text names the file and says what to do about it."""


class LocalAuthority:
    """Signs certificates for the names under which a developer's servers are reached.

    ``certificate_file`` is what clients have to trust, in PEM format, and ``name`` what they then
    show of it. ``is_new`` tells that nobody can trust it yet: it was made by this object.
    """

    def __init__(self, folder: Path, *, now: datetime | None = None) -> None:
        """Load the authority in a folder, or make both; ``now`` is for tests.

        Raise AuthorityError where it is damaged or has expired, or others could have changed it.
        """
        self._now = now or datetime.now(UTC)
        self._folder = folder.absolute()
        self._home = self._folder / "authority"
        self.certificate_file = self._home / "certificate.crt"
        with _explained(self._folder):
            _make_folder(self._folder)
            self.is_new = not self._home.exists() and self._make()
            self._certificate, self._key = self._load()
        self.name = _common_name(self._certificate)

    def issue(self, names: Iterable[str]) -> Path:
        """Return a PEM file with a certificate for these names, its chain and its key.

        Names are IP addresses and host names, "*.example.com" for all below a domain; for any other
        raise ValueError. A file that is there is returned again while it is good for a month. Raise
        AuthorityError where the folder cannot be written to.
        """
        wanted = sorted({_require_name(name) for name in names})
        if not wanted:
            raise ValueError("a certificate needs a name")
        digest = hashlib.sha256("\n".join(wanted).encode()).hexdigest()
        file = self._folder / "certificates" / f"{digest[:16]}.pem"
        with _explained(file):
            _make_folder(file.parent)
            if not self._is_good(file, wanted):
                _replace(file, self._sign(wanted))
        return file

    def _make(self) -> bool:
        """Make the authority, unless another process is quicker; tell whether it was made here."""
        key = _new_key()
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "django-daphne local authority"),
                x509.NameAttribute(NameOID.COMMON_NAME, _owner()),
            ]
        )
        builder = _builder(subject, key, key, subject)
        certificate = (
            builder.not_valid_before(self._now - _SKEW)
            .not_valid_after(self._now + _AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
            .sign(key, hashes.SHA256())
        )
        made = Path(tempfile.mkdtemp(dir=self._folder))  # for this user alone
        try:
            _write(made / "certificate.crt", _pem(certificate), 0o644)
            _write(made / "key.pem", _pem(key))
            made.rename(self._home)
        except OSError:
            if not self._home.exists():
                raise
            return False
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return True

    def _load(self) -> tuple[x509.Certificate, _Key]:
        keyfile = self._home / "key.pem"
        _refuse(self._home, _WRITE)
        try:
            _refuse(self.certificate_file, _WRITE)
            _refuse(keyfile, _READ_OR_WRITE)
            certificate = x509.load_pem_x509_certificate(self.certificate_file.read_bytes())
            key = load_pem_private_key(keyfile.read_bytes(), None)
        except FileNotFoundError as error:
            raise self._damaged(f"there is no {Path(error.filename).name}") from error
        except _MALFORMED as error:
            raise self._damaged("its files are not what they were") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not _belong(certificate, key):
            raise self._damaged("its key does not belong to its certificate")
        if certificate.not_valid_after_utc <= self._now:
            day = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
            raise AuthorityError(f"The local authority in {self._home} expired on {day}. {_ANEW}")
        return certificate, key

    def _damaged(self, reason: str) -> AuthorityError:
        return AuthorityError(f"The local authority in {self._home} is damaged: {reason}. {_ANEW}")

    def _sign(self, names: Sequence[str]) -> bytes:
        """Return a certificate for normal names, as the content of its file."""
        key = _new_key()
        subject = x509.Name(
            [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "django-daphne development")]
        )
        start = max(self._now - _SKEW, self._certificate.not_valid_before_utc)
        certificate = (
            _builder(subject, key, self._key, self._certificate.subject)
            .not_valid_before(start)
            .not_valid_after(min(start + _LIFE, self._certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage("digital_signature"), critical=True)
            .add_extension(x509.SubjectAlternativeName(map(_general_name, names)), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return _pem(certificate) + _pem(self._certificate) + _pem(key)

    def _is_good(self, file: Path, names: Sequence[str]) -> bool:
        """Tell whether a certificate is for these names, by this authority, and lasts a while."""
        try:
            _refuse(file, _READ_OR_WRITE)
            data = file.read_bytes()
            certificate = x509.load_pem_x509_certificate(data)
            certificate.verify_directly_issued_by(self._certificate)
            key = load_pem_private_key(data[data.index(b"-----BEGIN PRIVATE KEY") :], None)
            found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except (OSError, AuthorityError, InvalidSignature, *_MALFORMED):
            return False
        has = found.value.get_values_for_type(x509.DNSName)
        has += map(str, found.value.get_values_for_type(x509.IPAddress))
        end = min(self._now + _REST, self._certificate.not_valid_after_utc)
        return (
            sorted(has) == names
            and _belong(certificate, key)
            and certificate.not_valid_before_utc <= self._now
            and certificate.not_valid_after_utc >= end
        )


def user_folder() -> Path:
    """Return where the authority of this user is kept; raise AuthorityError without a home."""
    try:
        if sys.platform == "win32":
            local = os.environ.get("LOCALAPPDATA")
            base = Path(local) if local else Path.home() / "AppData" / "Local"
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Application Support"
        else:
            base = Path(os.environ.get("XDG_CONFIG_HOME", ""))
            if not base.is_absolute():  # which the XDG specification says to ignore
                base = Path.home() / ".config"
    except RuntimeError as error:
        raise AuthorityError(f"There is no home folder for a local authority: {error}") from error
    return base / "django-daphne"


def normal_name(name: str) -> str | None:
    """Return a name as certificates have it, or None for what they cannot have.

    That is an IP address, or a host name in ASCII (IDNA) and lower case, perhaps with "*." before.
    """
    if len(name) > _MAX_HOST_NAME:
        return None
    try:
        # The zone of a link-local address is known on one machine alone.
        return str(ipaddress.ip_address(name.partition("%")[0]))
    except ValueError:
        pass
    try:
        text = name.removesuffix(".").encode("idna").decode("ascii").lower()
    except UnicodeError:
        return None
    is_host = _HOST_NAME.fullmatch(text) and not text.rpartition(".")[2].isdigit()
    return text if is_host and len(text) <= _MAX_HOST_NAME else None


def _require_name(name: str) -> str:
    found = normal_name(name)
    if found is None:
        raise ValueError(f"{name!r} is neither a host name nor an IP address")
    return found


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _owner() -> str:
    """Return the name that tells whose authority it is, among others in a browser's list."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container may have a number and no name for it
        user = "somebody"
    name = f"django-daphne {user}@{socket.gethostname()}".encode(errors="replace")
    return name[:_MAX_COMMON_NAME].decode(errors="ignore")


def _common_name(certificate: x509.Certificate) -> str:
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else certificate.subject.rfc4514_string()


def _belong(certificate: x509.Certificate, key: PrivateKeyTypes) -> bool:
    return certificate.public_key() == key.public_key()


def _new_key() -> _Key:
    return ec.generate_private_key(ec.SECP256R1())


def _builder(
    subject: x509.Name, key: _Key, issuer_key: _Key, issuer: x509.Name
) -> x509.CertificateBuilder:
    """Return what all our certificates have in common. They are for servers and nothing else."""
    known_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(known_by, critical=False)
    )


def _key_usage(*allowed: str) -> x509.KeyUsage:
    every = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: name in allowed for name in every})


def _pem(item: x509.Certificate | _Key) -> bytes:
    if isinstance(item, x509.Certificate):
        return item.public_bytes(Encoding.PEM)
    return item.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _make_folder(folder: Path) -> None:
    """Make a folder for this user alone; refuse one that others can write to."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _refuse(folder, _WRITE)


def _refuse(path: Path, bits: int) -> None:
    """Raise AuthorityError where these bits of the mode let others in, or the owner is another."""
    if sys.platform == "win32":
        return  # it has no modes, and the folder is the user's by its access control list
    found = path.stat()
    user = os.geteuid()
    if user not in (0, found.st_uid):
        raise AuthorityError(f"{path} belongs to another user.")
    if found.st_mode & bits:
        can = "write to" if found.st_mode & _WRITE else "read"
        mode = "700" if path.is_dir() else "600"
        raise AuthorityError(f"Others can {can} {path}. Do: chmod {mode} {shlex.quote(str(path))}")


def _write(file: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a new file, which has its mode from the start."""
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as opened:  # noqa: PTH123 - of a descriptor
        opened.write(data)


def _replace(file: Path, data: bytes) -> None:
    """Put a file in its place at once, for this user alone."""
    descriptor, made = tempfile.mkstemp(dir=file.parent)  # mode 600
    try:
        with open(descriptor, "wb") as opened:  # noqa: PTH123 - of a descriptor
            opened.write(data)
        Path(made).replace(file)
    finally:
        Path(made).unlink(missing_ok=True)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say what the operating system does not allow."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise AuthorityError(f"{error.filename or path}: {reason}.") from error
