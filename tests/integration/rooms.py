"""One chat room on two hosts, as docs/howto/more-than-one-machine.md has it, and those who talk.

The hosts, and the machine outside with Redis and nginx, are those of tests.support.hosts. The tests
connect to nginx by a Unix socket, which is the same from everywhere.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from importlib.util import find_spec

from tests.support.hosts import Machine, make_network
from tests.support.nginx import Context, NginxTestCase
from tests.support.processes import PATIENCE, Process
from tests.support.redis import RedisTestCase
from tests.support.reports import ReportingTestCase
from tests.support.visitors import Room, Visitor, until
from tests.test_docs import blocks

from .projects import SmallProjectTestCase

PAGE = "howto/more-than-one-machine.md"

# Room for everything that a test says, so that nothing is dropped for want of it.
_CAPACITY = 1_000_000

_SETTINGS = """
ASGI_APPLICATION = "site_asgi.application"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": "site.sqlite3",
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF",
            "transaction_mode": "IMMEDIATE",
            "timeout": 30,
        },
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MIGRATION_MODULES = {"chat": None}
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
"""

_IN_MEMORY = """
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
"""

_URLS = """
    from django.urls import path
    from django.views.generic import TemplateView

    urlpatterns = [path("", TemplateView.as_view(template_name="chat/room.html"))]
"""

_ASGI = """
    from django.core.asgi import get_asgi_application

    pages = get_asgi_application()

    from channels.routing import ProtocolTypeRouter, URLRouter
    from chat.consumers import RoomConsumer
    from django.urls import path

    rooms = URLRouter([path("ws/room/", RoomConsumer.as_asgi())])
    application = ProtocolTypeRouter({"http": pages, "websocket": rooms})
"""

# Soon enough for a test; the page's own are for a network.
_SECONDS = {"fail_timeout=5s": "fail_timeout=1s", "_connect_timeout 2s": "_connect_timeout 1s"}
_SILENCE = 6
_PING_INTERVAL = 1


class Host:
    """A machine that serves the room, whenever its process runs."""

    def __init__(self, case: RoomTestCase, machine: Machine, url: str) -> None:
        self._case = case
        self._url = url
        self._port = 0
        self.machine = machine
        self.start()

    def start(self) -> None:
        """Start the process, at the port that it had before."""
        flags = ["-b", self.machine.address, "-p", str(self._port)]
        flags += ["--ping-interval", str(_PING_INTERVAL)]
        with self._case.at(self.machine):
            self.process = self._case.manage("rundaphne", *flags, REDIS_URL=self._url)

    def wait(self) -> None:
        """Return when it listens."""
        self._port = self.process.wait_for_port()

    def start_again(self) -> None:
        """Start the process anew once it has ended; return when it listens."""
        self.process.wait()
        self.start()
        self.wait()

    @property
    def address(self) -> str:
        """Return host and port."""
        return f"{self.machine.address}:{self._port}"

    def die(self) -> None:
        """End the process without a word of its own; the kernel still says goodbye."""
        self.process.kill()

    def leave(self) -> None:
        """Tell the process to stop."""
        self.process.send_signal(signal.SIGTERM)

    def fall_silent(self) -> None:
        """Lose the cable."""
        self._case.network.unplug(self.machine, self.process)

    def come_back(self) -> None:
        """Find the cable again."""
        self._case.network.plug(self.machine, self.process)


class RoomProjectTestCase(SmallProjectTestCase):
    """Tests with the project of the page, whose database is empty."""

    def write_project(self, *, redis: bool) -> Process:
        """Write the project, with the layer on Redis or in memory; return its migration."""
        self.settings_are(apps='"channels", "chat"')
        self.write("site_asgi.py", _ASGI)
        self.write("site_urls.py", _URLS)
        more = _SETTINGS if redis else _SETTINGS + _IN_MEMORY
        for text in blocks(PAGE, "python") + blocks(PAGE, "html"):
            if match := re.match(r"(?:#|<!--) (chat/[\w/]+\.\w+)", text):
                self.write(match[1], text)
            elif "CHANNEL_LAYERS" in text and redis:
                more += re.sub(r'(?<="capacity": )\d+', str(_CAPACITY), text)
        with (self.folder / "site_settings.py").open("a", encoding="utf-8") as settings:
            settings.write(more)
        return self.manage("migrate", "--run-syncdb", "-v", "0")

    def stored(self) -> list[str]:
        """Return the messages in the database."""
        with closing(sqlite3.connect(self.folder / "site.sqlite3")) as database:
            return [text for (text,) in database.execute("SELECT text FROM chat_message")]


class RoomTestCase(RoomProjectTestCase, RedisTestCase, NginxTestCase, ReportingTestCase):
    """Tests with Redis, nginx and two hosts, each on a machine of its own."""

    def setUp(self):
        super().setUp()
        for module in ("channels_redis", "websockets"):
            if find_spec(module) is None:
                self.skipTest(f"missing: {module}")
        self._enter: tuple[str, ...] = ()
        self.network = make_network(self, 3)
        self.report(self.network.kind)
        outside, *machines = self.network.machines
        for machine in machines:
            if not machine.enter:
                self.need_address(machine.address)
        migrated = self.write_project(redis=True)
        with self.at(outside):
            url = self.start_redis(outside.address)
        self.assertEqual(migrated.wait(), 0, migrated)
        self.hosts = [Host(self, machine, url) for machine in machines]
        for host in self.hosts:
            host.wait()
        with self.at(outside):
            self._start_nginx("http", self._configure_nginx())
        self.room = Room(self.folder / "www")
        self.talking = True

    @contextmanager
    def at(self, machine: Machine) -> Iterator[None]:
        """Start commands on this machine."""
        self._enter = machine.enter
        try:
            yield
        finally:
            self._enter = ()

    def start_command(
        self,
        command: Sequence[str],
        variables: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> Process:
        return super().start_command([*self._enter, *command], variables, pass_fds)

    def _configure_nginx(self) -> str:
        """Return what the page has, with the addresses of the hosts."""
        (block,) = blocks(PAGE, "nginx")
        first, second = (host.address for host in self.hosts)
        for theirs, ours in {
            **_SECONDS,
            "10.0.0.11:8000": first,
            "10.0.0.12:8000": second,
            "listen [::]:80;": "",
            "listen 80;": f"listen unix:{self.folder}/www;",
            "read_timeout 60s": f"read_timeout {_SILENCE}s",
            "location / {": "location / { add_header Upstream $upstream_addr always;",
        }.items():
            self.assertIn(theirs, block)
            block = block.replace(theirs, ours)
        return block

    def _find_nginx(self, context: Context) -> tuple[str, str]:
        program, directives = super()._find_nginx(context)
        # In a user namespace nginx is root, whoever runs the tests, and there is nobody else.
        if self._enter and "user root;" not in directives:
            directives = f"user root; {directives}"
        return program, directives

    @asynccontextmanager
    async def crowd(self, count: int) -> AsyncIterator[list[Visitor]]:
        """Return so many visitors, who are in the room, at both hosts."""
        visitors = [Visitor(self.room, pings=bool(number % 2)) for number in range(count)]
        tasks = [asyncio.create_task(visitor.live()) for visitor in visitors]
        try:
            await self.all_are_in(visitors, self.hosts)
            self.assertEqual(self.hosts_of(visitors), {host.address for host in self.hosts})
            yield visitors
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=PATIENCE)

    def hosts_of(self, visitors: Iterable[Visitor]) -> set[str | None]:
        """Return the addresses of the hosts where they are."""
        return {visitor.host for visitor in visitors}

    async def all_are_in(self, visitors: Iterable[Visitor], hosts: Iterable[Host]) -> None:
        """Wait until all are in the room, at one of these hosts."""
        addresses = {host.address for host in hosts}
        await until(lambda: self.hosts_of(visitors) <= addresses, f"all are at {addresses}")

    async def talk(self, speaker: Visitor, name: str) -> None:
        """Say one thing after the other, each until it is accepted, as long as there is talk."""
        for number in itertools.count():
            if not self.talking:
                return
            await speaker.say(f"{name} {number}")

    @asynccontextmanager
    async def conversation(self, visitors: Sequence[Visitor], speakers: int) -> AsyncIterator[None]:
        """Let so many of them talk while the block runs; then nothing may be lost to anybody."""
        talks = [
            asyncio.create_task(self.talk(visitor, f"speaker {number}:"))
            for number, visitor in enumerate(visitors[:speakers])
        ]
        yield
        self.talking = False
        await asyncio.gather(*talks)
        for number, visitor in enumerate(visitors):
            await visitor.say(f"goodbye {number}")
        await self.assert_nothing_is_lost(visitors)

    async def more_is_accepted(self, count: int) -> None:
        """Wait until so many messages more have been accepted."""
        before = len(self.room.accepted)
        await until(lambda: len(self.room.accepted) >= before + count, f"{count} more messages")

    async def nginx_uses(self, host: Host) -> None:
        """Ask for pages until this host answers.

        nginx tries a host that it has missed with one connection at a time, until one has ended
        well. A WebSocket does not end.
        """
        deadline = time.monotonic() + PATIENCE
        while await self._ask() != host.address:
            self.assertLess(time.monotonic(), deadline, f"nginx does not use {host.address}")

    async def _ask(self) -> str:
        """Ask nginx for a page; return the address of the host that answered."""
        reader, writer = await asyncio.open_unix_connection(self.folder / "www")
        with closing(writer):
            writer.write(b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
            answer = await asyncio.wait_for(reader.read(), PATIENCE)
        match = re.search(rb"(?m)^Upstream: (?:.*, )?(\S+)\r$", answer)
        return match[1].decode() if match else ""

    async def assert_all_move(self, visitors: Sequence[Visitor], lost: Host, left: Host) -> float:
        """Wait until all who were at the lost host are at the other; return how long it took.

        Those who were at the other all the time are still there, in the same session.
        """
        began = time.monotonic()
        staying = {v: v.session for v in visitors if v.host == left.address}
        moving = [visitor for visitor in visitors if visitor.host == lost.address]
        self.assertTrue(staying and moving)
        await self.all_are_in(visitors, [left])
        for visitor, session in staying.items():
            self.assertIs(visitor.session, session)
        return max(visitor.session.began for visitor in moving if visitor.session) - began

    async def assert_nothing_is_lost(self, visitors: Sequence[Visitor]) -> None:
        """Assert that all hear what they have to from the layer, and with the database all."""
        accepted = set(self.room.accepted)
        sessions = [visitor.session for visitor in visitors]
        self.assertNotIn(None, sessions)
        await self._at_last_nothing(lambda: [s.missing() for s in sessions if s])
        await self._at_last_nothing(lambda: [accepted - visitor.seen for visitor in visitors])

    async def _at_last_nothing(self, missing: Callable[[], list[set[str]]]) -> None:
        try:
            await until(lambda: not any(missing()), "all is heard")
        except AssertionError:
            self.assertEqual([sorted(texts) for texts in missing() if texts], [])
            raise
