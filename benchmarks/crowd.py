"""What the loaders of crowds share: opening many connections, and talking to who started them."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from websocket_client import WrongAnswer

# Connections that are opened at the same time; fewer than any server lets wait.
OPENING = 32
OPEN_SECONDS = 60.0

T = TypeVar("T")
Counts = dict[str, Any]


async def open_all(opened: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Return the results of all of these, a few at a time. Raises WrongAnswer, OSError."""
    gate = asyncio.Semaphore(OPENING)

    async def one(call: Callable[[], Awaitable[T]]) -> T:
        async with gate:
            return await call()

    try:
        async with asyncio.timeout(OPEN_SECONDS):
            return list(await asyncio.gather(*map(one, opened)))
    except TimeoutError:
        raise WrongAnswer(f"no {len(opened)} open within {OPEN_SECONDS:g} seconds") from None


async def within(seconds: float, futures: Sequence[asyncio.Future[None]], what: str) -> None:
    """Wait for all of these, and raise what is wrong with the first that fails."""
    _, late = await asyncio.wait(futures, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for future in futures:
        if future.done():
            future.result()
    if late:
        raise WrongAnswer(f"{len(late)} of {len(futures)} without {what}")


def percentiles(seconds: Sequence[float]) -> Counts:
    """Return the median and the 99th percentile in microseconds, zero of nothing."""
    ordered = sorted(seconds) or [0.0]
    size = len(ordered)
    return {"p50": ordered[size // 2] * 1e6, "p99": ordered[size * 99 // 100] * 1e6}


def wait_after(word: str) -> None:
    """Say how far this program is, "open" or "loaded", and wait for a line on standard input."""
    print(word, flush=True)
    if not sys.stdin.readline():
        raise WrongAnswer(f'nobody said how to go on after "{word}"')


def main(
    description: str | None,
    numbers: Sequence[tuple[str, float | str, str]],
    load: Callable[..., Coroutine[Any, Any, Counts]],
    **more: object,
) -> int:
    """Load as the command line says, print the counts and return the exit status.

    `numbers` are the options beside the port: a name, a default and a text. `load` gets them all,
    and what is given here beside them.
    """
    import uvloop  # What checks an answer has no need of it.

    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True, help="A port of 127.0.0.1.")
    for name, default, text in numbers:
        parser.add_argument(
            f"--{name}", type=type(default), default=default, help=f"{text} (%(default)s)"
        )
    try:
        counts = uvloop.run(load(**vars(parser.parse_args()), **more))
    except (WrongAnswer, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(counts))
    return 0
