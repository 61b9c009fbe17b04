"""The event loop and Twisted's reactor on top of it.

A reactor is a process-wide singleton, installed by the first import that asks for one and
impossible to undo; so nothing here runs at import. ``install`` is called once, when serving starts.
The reactor is Twisted's asyncio reactor over our loop: Twisted's endpoints, and whatever in the
project uses Twisted, then share the loop that serves.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
import warnings
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from .exceptions import ConfigurationError

if TYPE_CHECKING:
    from twisted.internet.asyncioreactor import AsyncioSelectorReactor

logger = logging.getLogger("django_daphne.server")

_INSTALLED = "twisted.internet.reactor"

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


def install(name: str) -> tuple[AsyncioSelectorReactor, asyncio.AbstractEventLoop]:
    """Install the reactor over a new loop, or take over what is installed; return both.

    An asyncio reactor that is there already is adopted with its loop. Beside one of another kind,
    or one that runs already (in another thread, or before a fork), a private reactor is made: all
    but endpoint strings that import the global one will work.
    """
    from twisted.internet import asyncioreactor

    existing: Any = sys.modules.get(_INSTALLED)
    if existing is None:
        loop = new_event_loop(name)
        asyncio.set_event_loop(loop)
        asyncioreactor.install(loop)  # type: ignore[no-untyped-call]
        installed = cast("AsyncioSelectorReactor", sys.modules[_INSTALLED])
        _own.append(installed)
        return installed, loop
    found = find_foreign_reactor()
    if found is not None and existing not in _reported:
        warnings.warn(f"{found.text} {found.advice}", RuntimeWarning, stacklevel=2)
    if _is_usable(existing):
        loop = existing._asyncioEventloop
        asyncio.set_event_loop(loop)
        return cast("AsyncioSelectorReactor", existing), loop
    loop = new_event_loop(name)
    asyncio.set_event_loop(loop)
    return asyncioreactor.AsyncioSelectorReactor(loop), loop


@dataclass(frozen=True)
class ForeignReactor:
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
    return _is_asyncio(reactor) and not reactor._asyncioEventloop.is_running()


def start_reactor(name: str) -> tuple[AsyncioSelectorReactor, asyncio.AbstractEventLoop]:
    """Install the reactor, let it count as running, and return it with its loop.

    Nothing turns until the loop is run, in this thread. No signals are taken.
    """
    twisted_reactor, loop = install(name)
    twisted_reactor.startRunning(installSignalHandlers=False)
    return twisted_reactor, loop


def _holders(reactor: object) -> list[str]:
    """Return the names of the loaded modules that hold the reactor."""
    return sorted(
        name
        for name, module in list(sys.modules.items())
        if not name.startswith("twisted.") and getattr(module, "reactor", None) is reactor
    )
