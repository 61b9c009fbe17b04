"""What a live server serves, and how it is configured: the project's, but for addresses and TLS."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from django.apps import apps
from django.conf import UserSettingsHolder, settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from ..asgi import load_application
from ..conf import OPTIONS, get_config
from ..handlers import make_static_files_handler, prepare, renew_handlers, request_pool
from ..server import ConfigurationError, Layer, ListenConfig, Resolved, TLSConfig
from .media import MediaFilesHandler, has_media

# What a handler looks at once, when it is made.
_TAKEN_AT_ONCE: Final = frozenset(("MIDDLEWARE", "ROOT_URLCONF"))

# Around the application: what serves static files.
Wrapper = Callable[[Any], Any]


@contextmanager
def current_handlers() -> Iterator[None]:
    """Keep Django's handlers up to date with settings that change while a block runs."""

    def renew(*, setting: str, **_: Any) -> None:
        if setting in _TAKEN_AT_ONCE:
            renew_handlers()

    renew_handlers()
    setting_changed.connect(renew, weak=False)
    try:
        yield
    finally:
        setting_changed.disconnect(renew)
        renew_handlers()


def settings_layers() -> Iterator[Any]:
    """Yield the settings that are overridden, the latest first, and at the end the project's."""
    layer: Any = settings._wrapped
    while isinstance(layer, UserSettingsHolder):
        yield layer
        layer = layer.default_settings
    yield layer


@contextmanager
def allowing(host: str) -> Iterator[None]:
    """Let a host be asked for, for as long as a block runs.

    Channels' AllowedHostsOriginValidator keeps the list that it finds when the project is imported,
    which may be any of those that there are: so all of them get the host.
    """
    layers = [*settings_layers()]
    found = [vars(layer).get("ALLOWED_HOSTS") for layer in layers]
    if name := getattr(layers[-1], "SETTINGS_MODULE", None):
        found.append(getattr(import_module(name), "ALLOWED_HOSTS", None))
    lists = {id(hosts): hosts for hosts in found if isinstance(hosts, list) and host not in hosts}
    for hosts in lists.values():
        hosts.append(host)
    try:
        yield
    finally:
        for hosts in lists.values():
            hosts.remove(host)


def make_config(
    host: str, port: int, options: Mapping[str, Any], *, certificate: Path | None, is_shared: bool
) -> Resolved:
    """Return the configuration of a server at this address; `options` win over the project's.

    With a database connection that ``is_shared``, sync code runs in one thread at a time: it would
    find itself in transactions of others. Raise ImproperlyConfigured for options that are wrong.
    """
    values: dict[str, Any] = {
        item.name: item.default for item in (*ListenConfig.options, *TLSConfig.options)
    }
    if is_shared:
        values |= {"threads": 1, "consumer_threads": 1}
    values |= _check(options)
    where = f"[{host}]" if ":" in host else host
    values |= {"bind": (f"{where}:{port}",), "port": None, "keyfile": ()}
    values["certfile"] = () if certificate is None else (str(certificate),)
    try:
        return get_config(values)
    except ConfigurationError as error:
        raise ImproperlyConfigured(f"The live server cannot be configured: {error}") from None


def _check(options: Mapping[str, Any]) -> dict[str, Any]:
    layer, known = Layer(), {item.name: item for item in OPTIONS}
    unknown = [name for name in options if name not in known]
    for name in options.keys() & known:
        layer.add(known[name], options[name], f"server_options[{name!r}]")
    problems = [f"server_options[{name!r}] is not an option of the server." for name in unknown]
    problems += map(str, layer.problems)
    if problems:
        raise ImproperlyConfigured("\n".join(problems))
    return layer.plain()


@contextmanager
def make_application(application: Any, static_wrapper: Wrapper | None) -> Iterator[Any]:
    """Return what is served, for as long as a block runs: the project's application, or another.

    That may be a dotted name. Around it are the files below MEDIA_URL, and what ``static_wrapper``
    makes of it.
    """
    with ExitStack() as stack:
        if application is None:
            application = load_application()
        elif isinstance(application, str):
            application = import_string(application)
        prepared = prepare(application)
        if prepared is not application:
            stack.callback(prepared.close)
        if static_wrapper is not None:
            if has_media():
                prepared = MediaFilesHandler(prepared, request_pool())
            prepared = static_wrapper(prepared)
        yield prepared


def serve_static_files(application: Any) -> Any:
    """Return an application with static files before it, from the finders; if there are any."""
    if apps.is_installed("django.contrib.staticfiles") and settings.STATIC_URL:
        return make_static_files_handler(application)
    return application


@contextmanager
def make_certificate(host: str) -> Iterator[tuple[Path, Path]]:
    """Make an authority for as long as a block runs, and a certificate by it for this host.

    Yield the paths of two PEM files: what clients have to trust, and what the server needs.
    """
    from ..management.local_authority import LocalAuthority  # and with it cryptography

    with TemporaryDirectory(prefix="django-daphne-") as folder:
        authority = LocalAuthority(Path(folder))
        names = dict.fromkeys([host, "localhost", "127.0.0.1", "::1"])
        yield authority.certificate_file, authority.issue(names)
