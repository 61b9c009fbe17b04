"""Signals around the life of a serving process, for what lifespan is to other frameworks.

Receivers may be sync or async and are called while no request is running: ``server_started``
before the first is accepted, ``server_stopping`` after the last has ended. A receiver of
``server_started`` that raises keeps the server from starting.
"""

from __future__ import annotations

import logging

from django.dispatch import Signal

from .server import LifespanFailure, Server

server_started = Signal()
server_stopping = Signal()

logger = logging.getLogger("django_daphne.server")


async def send_started() -> None:
    """Send ``server_started``; raise LifespanFailure when a receiver fails."""
    try:
        await server_started.asend(sender=Server)
    except Exception as error:
        raise LifespanFailure(
            f"A receiver of server_started failed: {type(error).__name__}: {error}"
        ) from error


async def send_stopping() -> None:
    """Send ``server_stopping``; a receiver that fails is logged and keeps nobody from stopping."""
    for receiver, answer in await server_stopping.asend_robust(sender=Server):
        if isinstance(answer, Exception):
            logger.error("Receiver %r of server_stopping failed", receiver, exc_info=answer)
