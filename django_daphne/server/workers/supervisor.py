"""The supervisor of worker processes.

Theory of operation. Whatever happens (a signal, a message, the end of a process, a second gone by)
only changes what is known or wanted and wakes the one loop below, which then compares the two and
takes the next steps. So nothing depends on the order in which things happen.

A slot has one worker that serves, and for a while also the one that is starting in its place: the
old one leaves when the new one is ready. Both accept on the slot's own sockets, which stay open
here, so no connection is lost between them. A slot whose worker is gone or silent is everyone's
until it is back.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Final

from ..config import ServerConfig
from ..exceptions import ListenError, WorkerFailure
from ..log_files import reopen_log_files
from ..metrics.board import Board
from ..pid_file import PidFile
from ..systemd import Notifier
from .child import BEAT, Child, State
from .command import Command, describe_end
from .slot import Slot
from .slots import Slots
from .succession import Predecessor, Successor

logger = logging.getLogger("django_daphne.server")

# Seconds beyond its own deadlines that a worker has to end; cancelled tasks and threads use them.
_RESPITE: Final = 15.0
# Workers of a slot that finish what they are doing. With more of them a replacement waits.
_MAX_LEAVING: Final = 3


class Supervisor:
    """Keeps as many workers serving as the configuration says. ``run`` it in the main thread."""

    def __init__(
        self,
        slots: Slots,
        config: ServerConfig,
        *,
        board: Board | None = None,
        announce: Callable[[list[str]], object] | None = None,
    ) -> None:
        """Take sockets, which it closes when it stops, and a board for the workers' metrics.

        ``announce`` is called with where it listens when all workers are ready.
        """
        self._board = board
        self._sockets = slots
        self._config = config
        self._pid_file = PidFile(config.process.pid_file)
        self._announce = announce
        self._command = Command()
        self._notifier: Notifier
        self._size = config.workers.workers
        self._slots: list[Slot] = []
        self._predecessor: Predecessor | None = None
        self._successor: Successor | None = None
        self._is_up = self._is_reloading = self._is_stopping = False
        self._failure: str | None = None
        self._changed: asyncio.Event

    def run(self) -> None:
        """Supervise until told to stop.

        Raises ConfigurationError for the file of its number, or WorkerFailure when a worker cannot
        start before all have.
        """
        asyncio.run(self._run())
        if self._failure is not None:
            raise WorkerFailure(self._failure)

    async def _run(self) -> None:
        self._changed = asyncio.Event()
        self._predecessor = Predecessor.get(self._sockets, self._take_charge)
        self._notifier = Notifier({} if self._predecessor else os.environ)
        try:
            self._handle_signals()  # whoever reads the number of this process may send them
            if self._predecessor is None:
                self._pid_file.write()
            seen = monotonic()
            interval = min(BEAT, Notifier(os.environ).watchdog_interval or BEAT)
            while True:
                try:
                    self._settle()
                except Exception:  # a mistake of ours, for which nobody has to be sent away
                    if not self._is_up:
                        raise
                    logger.exception("Internal error in the supervisor")
                if self._is_stopping and not any(self._children()):
                    break
                try:
                    async with asyncio.timeout(interval):
                        await self._changed.wait()
                except TimeoutError:
                    pass
                self._changed.clear()
                now = monotonic()
                self._forgive(now - seen - interval)
                seen = now
        finally:
            for child in self._children():
                child.kill()
                child.wait()
            self._pid_file.remove()

    def _wake(self) -> None:
        self._changed.set()

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number, act in {
            signal.SIGINT: self._stop,
            signal.SIGTERM: self._stop,
            signal.SIGHUP: self._reload,
            signal.SIGUSR1: self._reopen,
            signal.SIGUSR2: self._succeed,
            signal.SIGTTIN: lambda: self._resize(+1),
            signal.SIGTTOU: lambda: self._resize(-1),
            signal.SIGCHLD: lambda: None,
        }.items():
            loop.add_signal_handler(number, self._on_signal, act)

    def _on_signal(self, act: Callable[[], object]) -> None:
        act()
        self._wake()

    def _children(self) -> Iterator[Child]:
        return (child for slot in self._slots for child in slot.children())

    # What is known.

    def _forgive(self, late: float) -> None:
        """Take no offence at a silence in which this process did not run either."""
        if late > BEAT:
            for child in self._children():
                child.forgive(late)

    def _bury(self) -> None:
        """Take note of the workers that have ended."""
        for slot in self._slots:
            for child in slot.children():
                status = child.poll()
                if status is not None:
                    self._remove(slot, child, describe_end(status))

    def _remove(self, slot: Slot, child: Child, end: str) -> None:
        for other in self._slots:
            other.lent_to.discard(child)
        if self._board is not None and child.page is not None:
            self._board.retire(child.page)
        if child in slot.leaving:
            slot.leaving.remove(child)
            logger.debug("%s has ended (%s)", child, end)
        elif child is slot.serving:
            slot.serving = None
            slot.vacancy = "silent" if child.was_aborted else "ended"
            if not self._is_stopping:
                logger.error("%s has ended (%s); starting another", child, end)
        else:
            slot.starting = None
            slot.vacancy = slot.vacancy or "failed"
            if not self._is_stopping:
                self._note_failure(slot, f"{child} could not start ({end})")

    def _note_failure(self, slot: Slot, what: str) -> None:
        """Decide what follows from a worker that has ended before it was ready."""
        if not self._is_up:
            self._failure = what
            self._stop()
            return
        if self._is_reloading:
            self._is_reloading = False
            for child in self._children():
                child.is_outdated = False
            logger.error("%s; the reload is given up, and the workers before it stay", what)
            self._tell_ready()
            if slot.serving is not None:
                return
        logger.error("%s; the next try is in %g s", what, slot.pause())

    # What follows.

    def _settle(self) -> None:
        """Take the next steps from what is to what should be."""
        self._bury()
        for child in self._children():
            child.judge(self._config.workers)
        if self._successor is not None and self._successor.look():
            self._hand_over()
        if self._notifier.watchdog_interval is not None:
            self._notifier.watchdog()
        if self._is_stopping:
            return
        # Another supervisor may have left more sockets than this one has workers.
        while len(self._slots) < max(self._size, len(self._sockets.by_slot)):
            self._slots.append(Slot(len(self._slots)))
        for slot in self._slots:
            self._promote(slot)
            self._let_go(slot)
        for slot in self._slots[: self._size]:
            self._fill(slot)
        for slot in self._slots[self._size :]:
            self._empty(slot)
        for slot in self._slots:
            others = [each.serving for each in self._slots if each is not slot]
            slot.lend(self._sockets.by_slot[slot.number], others)
        self._take_stock()

    def _promote(self, slot: Slot) -> None:
        """Let a worker that has become ready serve in the place of the one before."""
        if slot.starting is None or slot.starting.state is not State.READY:
            return
        old, slot.serving, slot.starting = slot.serving, slot.starting, None
        slot.failures = 0
        logger.info("%s is ready", slot.serving)
        if old is not None:
            self._dismiss(slot, old)

    def _let_go(self, slot: Slot) -> None:
        """Take note of a worker that stops by itself: somebody has sent it a signal."""
        child = slot.serving
        if child is not None and child.state is State.LEAVING:
            slot.serving = None
            slot.vacancy = "ended"
            self._dismiss(slot, child)
            logger.warning("%s leaves by itself; starting another", child)

    def _dismiss(self, slot: Slot, child: Child) -> None:
        slot.leaving.append(child)
        child.dismiss(self._time_to_end(), is_replaced=True)

    def _time_to_end(self) -> float | None:
        """Return how long a worker may take to end, with all that it waits for."""
        timeouts = self._config.timeouts
        if timeouts.graceful_timeout is None or timeouts.lifespan_timeout is None:
            return None
        delay = timeouts.shutdown_delay
        return delay + timeouts.graceful_timeout + timeouts.lifespan_timeout + _RESPITE

    def _fill(self, slot: Slot) -> None:
        """Start a worker where there is none, or where the present one is to be replaced."""
        present = slot.serving
        if slot.starting is not None or monotonic() < slot.retry_at or self._is_stopping:
            return
        if present is not None:
            is_due = present.is_outdated or present.wish is not None
            is_busy = any(each.serving and each.starting for each in self._slots)  # one at a time
            if not is_due or is_busy or len(slot.leaving) >= _MAX_LEAVING:
                return
            slot.vacancy = present.wish or "reload"
            logger.info("%s is replaced (%s)", present, slot.vacancy)
        # What has been checked once is not checked again, unless it has changed since.
        is_checked = not (self._is_reloading and present is not None)
        reason, slot.vacancy = slot.vacancy, None
        page = None
        try:
            page = None if self._board is None else self._board.add()
            slot.starting = Child(
                self._command,
                slot.number,
                self._sockets.of(slot.number),
                self._wake,
                is_checked=is_checked,
                page=page,
            )
        except OSError as error:
            if self._board is not None and page is not None:
                self._board.retire(page)
            self._note_failure(slot, f"Worker {slot.number + 1} could not be started ({error})")
            return
        if self._board is not None and reason is not None:
            self._board.count_restart(reason)

    def _empty(self, slot: Slot) -> None:
        """Let a slot's workers leave for good. Its sockets stay, and are everyone's."""
        for child in (slot.serving, slot.starting):
            if child is not None:
                self._dismiss(slot, child)
        slot.serving = slot.starting = None

    def _take_stock(self) -> None:
        """Say when all are ready, at first or after a reload."""
        slots = self._slots[: self._size]
        if self._board is not None:
            self._board.set_workers(sum(slot.serving is not None for slot in slots))
        if self._is_stopping or not all(slot.serving for slot in slots):
            return
        if not self._is_up:
            if self._predecessor is not None:
                self._pid_file.write()
                self._predecessor.take_over()
            if self._announce is not None:
                self._announce(self._sockets.descriptions)
            self._is_up = True
            self._tell_ready()
        is_old = any(child.is_outdated for slot in slots for child in slot.current())
        if self._is_reloading and not is_old:
            self._is_reloading = False
            logger.info("The reload is complete")
            self._tell_ready()

    def _take_charge(self) -> None:
        """Speak to the service manager, as the other supervisor does no more."""
        self._notifier = Notifier(os.environ)
        if self._is_up:
            self._tell_ready()

    def _tell_ready(self) -> None:
        where = ", ".join(self._sockets.descriptions)
        self._notifier.ready(f"{self._size} workers on {where}")

    # What is wanted.

    def _stop(self, *, is_replaced: bool = False) -> None:
        """Let every worker finish; asked again, let them end now."""
        if self._is_stopping:
            for child in self._children():
                child.hurry()
            return
        self._is_stopping = True
        if self._predecessor is not None and not self._is_up:
            is_replaced = True  # it goes on, and is the one that the service manager knows
        logger.info("Stopping: waiting for the workers")
        if not is_replaced:
            self._notifier.stopping()
            if self._successor is not None:
                self._successor.stop()
        delay = 0 if is_replaced else self._config.timeouts.shutdown_delay
        asyncio.get_running_loop().call_later(delay, self._sockets.close)
        for child in self._children():
            if child.state is not State.LEAVING:
                child.dismiss(self._time_to_end(), is_replaced=is_replaced)

    def _reload(self) -> None:
        """Replace every worker, one after the other."""
        if self._is_stopping:
            return
        logger.info("SIGHUP: replacing the workers, one after the other")
        self._is_reloading = True
        if self._is_up:
            self._notifier.reloading()
        for child in self._children():
            child.is_outdated = True
        for slot in self._slots:
            slot.retry_at = 0.0  # whatever was wrong may be mended

    def _resize(self, change: int) -> None:
        """Have one worker more, or less."""
        size = max(1, self._size + change)
        if self._is_stopping or size == self._size:
            return
        if self._successor is not None:
            logger.warning("Another supervisor is taking over; it has to be told")
            return
        try:
            self._sockets.grow(size)
        except ListenError as error:
            logger.error("There is no room for another worker: %s", error)
            return
        self._size = size
        logger.info("Workers from now on: %d", size)

    def _reopen(self) -> None:
        """Let every process open its log files again."""
        reopen_log_files()
        for child in self._children():
            if child.state is not State.STARTING:  # it could not bear the signal yet
                child.send_signal(signal.SIGUSR1)

    def _succeed(self) -> None:
        """Start another supervisor, of the code and the configuration as they are now."""
        if self._is_stopping or self._successor is not None or not self._is_up:
            logger.warning("SIGUSR2: this supervisor is starting, being replaced, or stopping")
            return
        limit = self._config.workers.worker_start_timeout
        try:
            self._successor = Successor(self._command, self._sockets, limit, self._wake)
        except OSError as error:
            logger.error("No other supervisor could be started: %s", error)

    def _hand_over(self) -> None:
        """Leave, or stay, as the other supervisor is ready or has ended."""
        successor, self._successor = self._successor, None
        if successor is not None and successor.status is None and not self._is_stopping:
            successor.hand_over(self._notifier)
            self._stop(is_replaced=True)
