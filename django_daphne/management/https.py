"""TLS for runserver: its flags, and with --https a certificate by the developer's own authority.

What the settings and the environment say of TLS is meant for production. Here flags alone count.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.management.base import CommandError, OutputWrapper

from ..server import ConfigurationError, TLSConfig, check_certificates, resolve
from .options import add_server_arguments

if TYPE_CHECKING:
    from .local_authority import LocalAuthority

_PAGE: Final = "docs/howto/development-https.md"

# The names of this machine for itself.
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")
# Addresses to listen on that nobody can go to.
_EVERYWHERE: Final = ("", "0", "0.0.0.0", "::")  # noqa: S104 - which is said of them here
# What Django allows where DEBUG is on and ALLOWED_HOSTS has nothing; what is missing is in _LOCAL.
_DEBUG_HOSTS: Final = (".localhost",)

# Where Chromium looks on Linux: the first one unless there is only the other.
_DATABASES: Final = (".pki/nssdb", ".local/share/pki/nssdb")

# How to make the programs of a platform trust a certificate.
_TRUST: Final = {
    "linux": """\
  Chromium, Chrome  mkdir -p {database}
                    certutil -d sql:{database} -A -t C,, -n {name} -i {file}
  Firefox           Settings, Privacy & Security, View Certificates, Authorities, Import
  curl and others   sudo cp {file} /usr/local/share/ca-certificates/django-daphne.crt
                    sudo update-ca-certificates""",
    "darwin": """\
  Safari, Chrome    security add-trusted-cert -k ~/Library/Keychains/login.keychain-db {file}
  Firefox           trusts what the system trusts""",
    "win32": """\
  Edge, Chrome      certutil -user -addstore Root {file}
  Firefox           trusts what the system trusts""",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --https and the flags of TLS."""
    parser.add_argument(
        "--https",
        action="store_true",
        help="Serve over TLS, with a certificate by a local authority that is made at first use.",
    )
    add_server_arguments(parser, (TLSConfig,))


def take_flags(options: dict[str, Any]) -> dict[str, Any]:
    """Remove what `add_arguments` added from a command's options; return it."""
    names = ("https", *(item.name for item in TLSConfig.options))
    return {name: options.pop(name) for name in names if name in options}


def refuse_without_asgi(flags: Mapping[str, Any]) -> None:
    """Raise CommandError where TLS is wanted of Django's own server."""
    for name, value in flags.items():
        if value:
            flag = "--" + name.replace("_", "-")
            raise CommandError(f"{flag}: the server of --noasgi does not speak TLS.")


def tls_values(flags: Mapping[str, Any], host: str, output: OutputWrapper) -> dict[str, Any]:
    """Return the options of TLS by field name: what the flags say, and else the defaults.

    With --https and without a certificate among the flags that of the local authority is taken, for
    the names of this machine, ``host`` and ALLOWED_HOSTS; when the authority is new, ``output``
    gets a text on how to trust it. To be called once, before any process that serves. Raise
    CommandError where something is wrong with the flags or the files.
    """
    given = {name: value for name, value in flags.items() if name != "https"}
    is_local = flags.get("https", False) and not given.keys() & {"certfile", "keyfile"}
    if is_local:
        given["certfile"] = ["to be issued"]
    try:
        config = resolve(given, {}, {}).config
        if is_local:
            names = certificate_names(host, settings.ALLOWED_HOSTS)
            config = config.replace(certfile=(str(_issue(names, output)),))
        check_certificates(config)
    except ConfigurationError as error:
        raise CommandError(str(error)) from error
    return {**vars(config.tls)}


def certificate_names(host: str, allowed: Iterable[object]) -> list[str]:
    """Return the names for a certificate: this machine's, the address's, and ALLOWED_HOSTS.

    Patterns that a certificate cannot have, such as "*", are left out.
    """
    from .local_authority import normal_name

    found = [*_LOCAL]
    if host not in _EVERYWHERE:
        found.append(host)
    for pattern in (*allowed,) or (_DEBUG_HOSTS if settings.DEBUG else ()):
        if not isinstance(pattern, str):
            continue  # a mistake that Django finds at the first request
        if pattern.startswith("."):
            found += [pattern[1:], f"*{pattern}"]
        else:
            found.append(pattern.removeprefix("[").removesuffix("]"))
    return [*dict.fromkeys(filter(None, map(normal_name, found)))]


def _issue(names: Iterable[str], output: OutputWrapper) -> Path:
    from .local_authority import AuthorityError, LocalAuthority, user_folder  # slow to import

    try:
        authority = LocalAuthority(user_folder())
        if authority.is_new:
            output.write(_instructions(authority))
            output.flush()  # a process below this one writes there, too
        return authority.issue(names)
    except AuthorityError as error:
        raise CommandError(str(error)) from error


def _instructions(authority: LocalAuthority) -> str:
    """Return what a developer is told once: what was made, and how to trust it."""
    quote: Callable[[object], str] = _quote_for_windows if sys.platform == "win32" else _quote
    home = Path(os.environ.get("HOME", "~"))  # there may be none
    databases = [home / path for path in _DATABASES]
    commands = _TRUST.get(sys.platform, _TRUST["linux"]).format(
        database=quote(next(filter(Path.exists, databases), databases[0])),
        file=quote(authority.certificate_file),
        name=quote(authority.name),
    )
    return (
        f"A certificate authority was made for this user, {authority.name}:\n"
        f"  {authority.certificate_file}\n"
        "Browsers warn of this server until they trust it. Make them:\n"
        f"{commands}\n"
        "Whoever has its key can be any site for those who trust it: never share its folder.\n"
        f"Other programs, phones, and how to be rid of it: {_PAGE}\n"
    )


def _quote(text: object) -> str:
    return shlex.quote(str(text))


def _quote_for_windows(text: object) -> str:
    return f'"{text}"'
