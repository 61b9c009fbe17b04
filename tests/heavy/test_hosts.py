"""Two hundred visitors of one room, whose two hosts are lost in turn, in every way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from django.test import tag

from tests.integration.rooms import Host, RoomTestCase
from tests.support.processes import PATIENCE
from tests.support.visitors import Visitor

VISITORS, SPEAKERS, ROUNDS = 200, 20, 6

# How a host is lost, and how it is there again.
WAYS = (
    (Host.die, Host.start_again),
    (Host.fall_silent, Host.come_back),
    (Host.leave, Host.start_again),
)


@tag("heavy")
class HostTests(RoomTestCase):
    """What tests.integration.test_hosts does, at a larger scale and again and again."""

    def test_hosts_in_turn(self):
        """The operator loses one host after the other while twenty talk and two hundred hear."""
        asyncio.run(self._lose_in_turn())
        self.assertEqual(sorted(self.stored()), sorted(self.room.accepted))

    async def _lose_in_turn(self) -> None:
        async with self.crowd(VISITORS) as visitors:
            async with self.conversation(visitors, SPEAKERS):
                began = time.monotonic()
                for number in range(ROUNDS):
                    lost, left = self.hosts[number % 2], self.hosts[1 - number % 2]
                    lose, mend = WAYS[number % len(WAYS)]
                    await self._spread(visitors)
                    await self.more_is_accepted(50)
                    lose(lost)
                    seconds = await self.assert_all_move(visitors, lost, left)
                    self.report(f"{lose.__name__}: all are back after {seconds:.1f} s")
                    await self.more_is_accepted(50)
                    await asyncio.to_thread(mend, lost)
                    await self.nginx_uses(lost)
                seconds = time.monotonic() - began
            self.report(
                f"{len(self.room.accepted)} messages accepted in {seconds:.0f} s, "
                f"{self.room.said_again} said again"
            )
            self.report(f"{sum(map(len, (v.sessions for v in visitors)))} sessions")

    async def _spread(self, visitors: Sequence[Visitor]) -> None:
        """Let visitors go and come again until each host has a quarter of them at least."""
        deadline = time.monotonic() + PATIENCE
        while True:
            places = [[v for v in visitors if v.host == host.address] for host in self.hosts]
            empty, full = sorted(places, key=len)
            if len(empty) >= VISITORS // 4:
                return
            self.assertLess(time.monotonic(), deadline, [len(place) for place in places])
            going = full[: VISITORS // 2 - len(empty)]
            await asyncio.gather(*(visitor.come_again() for visitor in going))
