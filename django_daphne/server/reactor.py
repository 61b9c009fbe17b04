"""The event loop and Twisted's reactor on top of it.

A reactor is a process-wide singleton, installed by the first import that asks for one and
impossible to undo; so nothing here runs at import. It is Twisted's asyncio reactor over our loop:
Twisted's endpoints, and whatever in the project uses Twisted, then share the loop that serves.

It brings Twisted's TCP and TLS with it, cryptography and more: as much to import as the rest of the
server together, and a third of its memory. So ``LoopReactor`` makes it for those who use Twisted.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from .exceptions import ConfigurationError

if TYPE_CHECKING:
    from importlib.abc import Loader

    from twisted.internet.asyncioreactor import AsyncioSelectorReactor

logger = logging.getLogger("django_daphne.server")

_INSTALLED = "twisted.internet.reactor"
# Who imports this, or anything in it, uses Twisted.
_NETWORKING = "twisted.internet"

# Reactors of this module, and those of others that were spoken of.
_own: list[object] = []
_reported: list[object] = []


def new_event_loop(name: str) -> asyncio.AbstractEventLoop:
    """Return a new loop: "uvloop", "asyncio", or "auto" for uvloop where it is installed.

    Raises ConfigurationError when uvloop is asked for and missing.
    """
    if name != "asyncio":
        try:
            uvloop = importlib.import_module("uvloop")
        except ImportError:
            if name == "uvloop":
                raise ConfigurationError(
                    "--loop uvloop: the package uvloop is not installed here; expected auto or"
                    " asyncio, or uvloop where it can be installed."
                ) from None
        else:
            loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
            return loop
    if sys.platform == "win32":
        # Twisted's reactor needs add_reader, which the proactor loop lacks.
        return asyncio.SelectorEventLoop()
    return asyncio.new_event_loop()


def loop_name(loop: asyncio.AbstractEventLoop) -> str:
    """Return the name of a loop as --loop has it."""
    return "uvloop" if type(loop).__module__.startswith("uvloop") else "asyncio"


def forward_twisted_log() -> None:
    """Send what Twisted logs to the standard library's logging, under its name."""
    from twisted.python.log import PythonLoggingObserver

    PythonLoggingObserver("twisted").start()  # type: ignore[no-untyped-call]


def loop_in_use(name: str) -> str:
    """Return "uvloop" or "asyncio": what ``new_event_loop`` makes of a value of --loop.

    Raises ConfigurationError as it does.
    """
    with closing(new_event_loop(name)) as loop:
        return loop_name(loop)


class LoopReactor:
    """The loop that serves, and Twisted's reactor over it as soon as anybody uses Twisted.

    Where Twisted's networking is loaded already, the reactor is there from the beginning: one that
    somebody else has installed is adopted with its loop, if it is an asyncio reactor. Otherwise the
    first import of Twisted's networking finds it installed, in whatever thread. Beside a reactor of
    another kind, or one that runs already (in another thread, or before a fork), a private one is
    made: all but endpoint strings that import the global one will work.

    A reactor counts as running from the moment it is there, and takes no signals.
    """

    def __init__(self, name: str) -> None:
        """Make a loop, by its name; the thread that does so is to run it."""
        self._thread = threading.get_ident()
        self._reactor: AsyncioSelectorReactor | None = None
        self._finder = _Finder(self._install)
        existing: Any = sys.modules.get(_INSTALLED)
        is_adopted = existing is not None and _is_usable(existing)
        self.loop: asyncio.AbstractEventLoop = (
            existing._asyncioEventloop if is_adopted else new_event_loop(name)
        )
        asyncio.set_event_loop(self.loop)
        if existing is not None:
            found = find_foreign_reactor()
            if found is not None and existing not in _reported:
                warnings.warn(f"{found.text} {found.advice}", RuntimeWarning, stacklevel=2)
            self._start(existing if is_adopted else self._make())
        elif _NETWORKING in sys.modules:
            self._install()
        else:
            sys.meta_path.insert(0, cast(Any, self._finder))

    def get(self) -> AsyncioSelectorReactor:
        """Return the reactor."""
        if self._reactor is None:
            importlib.import_module(_NETWORKING)
        # Another server of this process may have installed its own.
        return self._reactor or self._start(self._make())

    def stop(self) -> None:
        """Stop the reactor if there is one, and make none from now on; the loop must not run."""
        self._finder.remove()
        if self._reactor is not None and self._reactor.running:
            self.loop.call_soon(self._reactor.stop)
            self.loop.run_forever()

    def _install(self) -> None:
        """Make the reactor that of the process."""
        from twisted.internet.main import installReactor

        made = self._make()
        installReactor(made)  # type: ignore[no-untyped-call]
        _own.append(made)
        self._start(made)

    def _start(self, reactor: AsyncioSelectorReactor) -> AsyncioSelectorReactor:
        """Let a reactor count as running; nothing turns but the loop."""
        self._reactor = reactor
        reactor.startRunning(installSignalHandlers=False)
        return reactor

    def _make(self) -> AsyncioSelectorReactor:
        from twisted.internet.asyncioreactor import AsyncioSelectorReactor
        from twisted.python.threadable import registerAsIOThread

        if threading.get_ident() == self._thread:
            return AsyncioSelectorReactor(self.loop)
        later = self.loop.call_soon_threadsafe

        class DistantReactor(AsyncioSelectorReactor):
            """One that is made in another thread than that of its loop, which must do the rest."""

            _registerAsIOThread = False  # noqa: N815 - Twisted's name

            def installWaker(self) -> None:
                later(super().installWaker)

        later(registerAsIOThread)
        return DistantReactor(self.loop)


class _Finder:
    """Finds Twisted's networking as others would, and calls a function when it is there.

    One object is finder and loader (PEP 451), by their methods: the base classes of importlib.abc
    bring the reading of resources along.
    """

    def __init__(self, on_import: Callable[[], None]) -> None:
        self._on_import = on_import
        self._process = os.getpid()
        self._loader: Loader

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        # In a process forked from this one nobody runs the loop.
        if name != _NETWORKING or os.getpid() != self._process:
            return None
        others = (each for each in sys.meta_path if each is not cast(Any, self))
        spec = next(filter(None, (each.find_spec(name, path, target) for each in others)), None)
        if spec is not None and spec.loader is not None:
            self._loader, spec.loader = spec.loader, cast("Loader", self)
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self.remove()
        # As the import will do when it has ended; the function may need it.
        package, _, name = _NETWORKING.rpartition(".")
        setattr(sys.modules[package], name, module)
        self._on_import()

    def remove(self) -> None:
        """Find nothing any more."""
        with suppress(ValueError):
            sys.meta_path.remove(cast(Any, self))


class ForeignReactor(NamedTuple):
    """A reactor that is installed although no server of ours did so.

    ``text`` says which it is and who holds it, ``advice`` what comes of it and what to do.
    ``holders`` are loaded modules. A ``is_usable`` one will be that of the server.
    """

    text: str
    advice: str
    holders: tuple[str, ...]
    is_usable: bool

    def mark_reported(self) -> None:
        """Let the server that starts in this process not say it again."""
        _reported.append(sys.modules[_INSTALLED])


def find_foreign_reactor() -> ForeignReactor | None:
    """Return what is known of a reactor that somebody else has installed; None without one."""
    existing: Any = sys.modules.get(_INSTALLED)
    if existing is None or existing in _own:
        return None
    holders = tuple(_holders(existing))
    kind = f"{type(existing).__module__}.{type(existing).__qualname__}"
    held = ", ".join(holders) or "no loaded module"
    if is_usable := _is_usable(existing):
        name = loop_name(existing._asyncioEventloop)
        advice = f"The server uses it, with its event loop ({name})."
    else:
        what = "It runs already" if _is_asyncio(existing) else "It is of another kind"
        advice = (
            f"{what}, so the server runs beside it on a reactor of its own; what is left to the"
            " other one may never happen. Import twisted.internet.reactor inside of functions, or"
            " install an asyncio reactor."
        )
    text = f"A Twisted reactor was installed before the server started ({kind}, held by {held})."
    return ForeignReactor(text, advice, holders, is_usable)


def _is_asyncio(reactor: object) -> bool:
    from twisted.internet import asyncioreactor

    return isinstance(reactor, asyncioreactor.AsyncioSelectorReactor)


def _is_usable(reactor: Any) -> bool:
    """Tell whether a server can have a reactor and its loop for itself."""
    if not _is_asyncio(reactor):
        return False
    loop = reactor._asyncioEventloop
    return not (loop.is_running() or loop.is_closed())


def _holders(reactor: object) -> list[str]:
    """Return the names of the loaded modules that hold the reactor."""
    return sorted(
        name
        for name, module in list(sys.modules.items())
        if not name.startswith("twisted.") and getattr(module, "reactor", None) is reactor
    )
