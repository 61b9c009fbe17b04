"""One chat room on two hosts behind nginx, of which one is lost while people talk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .rooms import Host, RoomTestCase

VISITORS, SPEAKERS = 8, 4


class HostTests(RoomTestCase):
    """A host is lost; its visitors go to the other, and nobody there misses a word."""

    def lose(self, how: Callable[[Host], None]) -> None:
        """Lose the first host while people talk, and talk on."""
        asyncio.run(self._lose(how, *self.hosts))
        self.assertEqual(sorted(self.stored()), sorted(self.room.accepted))

    async def _lose(self, how: Callable[[Host], None], lost: Host, left: Host) -> None:
        async with self.crowd(VISITORS) as visitors:
            talks = [
                asyncio.create_task(self.talk(visitor, f"speaker {number}:"))
                for number, visitor in enumerate(visitors[:SPEAKERS])
            ]
            await self.more_is_accepted(20)
            how(lost)
            await self.assert_all_move(visitors, lost, left)
            await self.more_is_accepted(20)
            self.talking = False
            await asyncio.gather(*talks)
            for number, visitor in enumerate(visitors):
                await visitor.say(f"goodbye {number}")
            await self.assert_nothing_is_lost(visitors)

    def test_killed(self):
        """The operator loses a host whose process is killed."""
        self.lose(Host.die)

    def test_silent(self):
        """The operator loses a host whose cable is pulled: what is sent to it vanishes."""
        self.lose(Host.fall_silent)

    def test_leaving(self):
        """The operator stops a host, and its visitors are told to come back soon."""
        self.lose(Host.leave)
        self.assertEqual(self.hosts[0].process.wait(), 0, self.hosts[0].process)
        self.assertEqual({*self.room.codes}, {1012})
