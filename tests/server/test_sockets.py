"""Unix sockets and passed descriptors, before anything is served on them."""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import pwd
import socket
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import SkipTest, mock

from django.test import SimpleTestCase

from django_daphne.server import ListenError, ServerConfig, unix_sockets
from django_daphne.server.bound_socket import BoundSocket
from django_daphne.server.config import ListenConfig
from django_daphne.server.sockets import bind
from tests.support.server import PATIENCE


class BindTestCase(SimpleTestCase):
    """Tests of binding alone."""

    def bind(self, activated: Sequence[tuple[int, str]] = (), **values: Any) -> list[BoundSocket]:
        """Return listeners for a configuration; they are closed after the test."""
        listeners = bind(ServerConfig().replace(**values).listen, activated)
        for listener in listeners:
            self.addCleanup(listener.close)
        return listeners

    def refusal(self, **values: Any) -> str:
        """Return why nothing can be listened on."""
        with self.assertRaises(ListenError) as caught:
            self.bind(**values)
        return str(caught.exception)


def reach(path: Path) -> None:
    """Connect to a unix socket. Raises OSError where nobody listens."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))


def leave_dead(path: Path) -> None:
    """Leave a socket behind that nobody listens on."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


@contextlib.contextmanager
def full_queue(path: Path) -> Iterator[list[socket.socket]]:
    """Connect to a unix socket until its queue takes nobody else, for the block; yield clients."""
    if sys.platform != "linux":
        raise SkipTest("Elsewhere a full queue is not told from a dead socket.")
    clients: list[socket.socket] = []
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(BlockingIOError):
            while True:
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(path))
                clients.append(client)
        yield clients


@contextlib.contextmanager
def successor(path: Path) -> Iterator[list[BoundSocket]]:
    """Try for a path in a thread until it is had, and then have it in the list that is yielded.

    Whoever else removes a file meanwhile is held up until one try has been made.
    """
    won: list[BoundSocket] = []
    tries, is_over, remove = threading.Semaphore(0), threading.Event(), Path.unlink

    def succeed() -> None:
        while not (won or is_over.is_set()):
            with contextlib.suppress(ListenError):
                won.extend(bind(ListenConfig(unix_socket=str(path))))
            tries.release()

    def remove_late(found: Path, missing_ok: bool = False) -> None:
        if threading.current_thread() is not thread:
            while tries.acquire(blocking=False):
                pass
            # The first to end may have begun before. None ends while the directory is locked.
            for _ in range(2):
                tries.acquire(timeout=0.1)
        remove(found, missing_ok)

    thread = threading.Thread(target=succeed, daemon=True)
    with mock.patch.object(Path, "unlink", remove_late):
        thread.start()
        try:
            yield won
            thread.join(PATIENCE)
        finally:
            is_over.set()


@contextlib.contextmanager
def ordinary_user(folder: Path) -> Iterator[None]:
    """Be somebody, while the block runs, who may not do everything, and whose the folder is."""
    if os.geteuid():
        yield
        return
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    os.seteuid(nobody.pw_uid)
    try:
        if not os.access(folder, os.W_OK, effective_ids=True):
            raise SkipTest("The temporary folder is root's alone.")
        yield
    finally:
        os.seteuid(0)


def new_owner() -> tuple[pwd.struct_passwd, grp.struct_group]:
    """Return a user and a group that a socket may be given to; root gives it to others."""
    try:
        user = pwd.getpwuid(os.geteuid()) if os.geteuid() else pwd.getpwnam("daemon")
        return user, grp.getgrgid(user.pw_gid)
    except KeyError:
        raise SkipTest("This user has no name.") from None


class UnixTestCase(BindTestCase):
    """Tests with a path in a folder that is empty at first."""

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.path = self.folder / "socket"

    def listen(self, **values: Any) -> BoundSocket:
        """Return the listener on the path."""
        (listener,) = self.bind(unix_socket=str(self.path), **values)
        return listener

    def unix_refusal(self, **values: Any) -> str:
        """Return why the path cannot be listened on."""
        return self.refusal(unix_socket=str(self.path), **values)

    def assert_folder(self, *names: str) -> None:
        """The folder holds this and nothing else: no lock file, nothing temporary."""
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), sorted(names))


class PathTests(UnixTestCase):
    """What is at the path, before and after."""

    def test_removed(self):
        """The server stops and takes its socket with it, if nobody else did."""
        for is_gone in (False, True):
            listener = self.listen()
            self.assertTrue(self.path.is_socket())
            self.assert_folder("socket")
            if is_gone:
                self.path.unlink()
            listener.close()
            self.assert_folder()

    def test_plain_file(self):
        """The operator names a file, which is not touched."""
        self.path.write_text("precious")
        self.assertIn("no socket", self.unix_refusal())
        self.assertEqual(self.path.read_text(), "precious")
        self.assert_folder("socket")

    def test_link(self):
        """The operator names a link to a file, which is not followed."""
        target = self.folder / "target"
        target.write_text("precious")
        self.path.symlink_to(target)
        self.assertIn("no socket", self.unix_refusal())
        self.assertTrue(self.path.is_symlink())
        self.assertEqual(target.read_text(), "precious")

    def test_directory(self):
        """The operator names a directory, or a path in one that does not exist."""
        for path in (str(self.folder), ".", "/"):
            self.assertIn(f"unix socket {path}: there is a file", self.refusal(unix_socket=path))
        self.assertIn("no such directory", self.refusal(unix_socket="/no/such/directory/socket"))

    def test_given_back(self):
        """The operator wants something besides that cannot be had."""
        self.unix_refusal(fd=99999)
        self.assert_folder()

    def test_long(self):
        """The operator names the longest path that a unix socket can have, and longer ones."""
        longest = 107 if sys.platform == "linux" else 103
        self.path = self.folder / "x".ljust(longest - len(f"{self.folder}/"), "x")
        self.listen()
        reach(self.path)
        for path in (f"{self.path}x", f"{self.folder}/{'x' * 300}"):
            self.assertIn("too long", self.refusal(unix_socket=path))
        self.assert_folder(self.path.name)


class PermissionTests(UnixTestCase):
    """Whose the socket is, and who may connect."""

    def test_mode(self):
        """The operator names permissions, or none; those of new files do not matter."""
        for umask in (0, 0o022, 0o077):
            previous = os.umask(umask)
            try:
                for mode in (None, 0o600, 0o660):
                    listener = self.listen(**({"unix_socket_mode": mode} if mode else {}))
                    self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), mode or 0o666)
                    listener.close()
            finally:
                os.umask(previous)

    def test_owner(self):
        """The operator names owner and group, by name or number, or one of them."""
        user, group = new_owner()
        uid, gid, own = user.pw_uid, group.gr_gid, (os.geteuid(), os.getegid())
        for owner, named_group, expected in (
            (user.pw_name, group.gr_name, (uid, gid)),
            (str(uid), str(gid), (uid, gid)),
            (user.pw_name, None, (uid, own[1])),
            (None, group.gr_name, (own[0], gid)),
            (None, None, own),
        ):
            with self.subTest(owner=owner, group=named_group):
                listener = self.listen(unix_socket_owner=owner, unix_socket_group=named_group)
                status = self.path.stat()
                self.assertEqual((status.st_uid, status.st_gid), expected)
                listener.close()

    def test_nobody_of_this_name(self):
        """The operator names a user and a group that do not exist, or numbers that cannot."""
        for name in ("no-such-name", "-1", "4294967295", "99999999999"):
            for flag in ("owner", "group"):
                text = self.unix_refusal(**{f"unix_socket_{flag}": name})
                self.assertIn(f"--unix-socket-{flag} {name}: ", text)
        self.assert_folder()

    def test_not_root(self):
        """The operator gives the socket to root without being root; nothing is left of it."""
        with ordinary_user(self.folder):
            self.assertIn("only root may give it to", self.unix_refusal(unix_socket_owner="0"))
        self.assert_folder()

    def test_complete(self):
        """A client that is quick finds nothing that lets it in before all permissions are set."""
        chmod, replace, found = Path.chmod, Path.replace, []

        def try_and_chmod(path: Path, mode: int) -> None:
            with self.assertRaises(ConnectionRefusedError):
                reach(path)
            chmod(path, mode)

        def look_and_replace(path: Path, target: Path) -> Path:
            self.assertFalse(target.exists())
            reach(path)
            status = path.stat()
            found.append((stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid))
            return replace(path, target)

        user, group = new_owner()
        with (
            mock.patch.object(Path, "chmod", try_and_chmod),
            mock.patch.object(Path, "replace", look_and_replace),
        ):
            names = {"unix_socket_owner": user.pw_name, "unix_socket_group": group.gr_name}
            self.listen(unix_socket_mode=0o640, **names)
        self.assertEqual(found, [(0o640, user.pw_uid, group.gr_gid)])


class StarterTests(UnixTestCase):
    """Who may have a path that somebody has, had, or wants."""

    def test_answering(self):
        """Another server answers there, or is too busy to, and goes on serving."""
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(self.path))
            other.listen(0)
            text = f"Couldn't listen on unix socket {self.path}: a server answers on it."
            self.assertEqual(self.unix_refusal(), text)
            with full_queue(self.path):
                self.assertEqual(self.unix_refusal(), text)
            other.accept()[0].close()
            reach(self.path)

    def test_not_to_be_asked(self):
        """Another server's socket lets nobody in, so that nobody knows whether it answers."""
        with ordinary_user(self.folder), socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(self.path))
            self.path.chmod(0)
            sock.listen()
            self.assertIn("permission denied", self.unix_refusal())
            self.assertTrue(self.path.exists())

    def test_not_ours_any_more(self):
        """The next server has taken the path over, and keeps it when the first one stops."""
        listener = self.listen()
        self.path.unlink()
        self.listen()
        listener.close()
        reach(self.path)

    def test_taken_over_at_once(self):
        """Somebody who heeds no lock takes the path as soon as it is there, and keeps it."""
        replace = Path.replace

        def be_followed(path: Path, target: Path) -> Path:
            replace(path, target)
            rival.bind(f"{target}.rival")
            rival.listen()
            return Path(f"{target}.rival").rename(target)

        with socket.socket(socket.AF_UNIX) as rival:
            with mock.patch.object(Path, "replace", be_followed):
                listener = self.listen()
            listener.close()
            reach(self.path)

    def test_successor(self):
        """The next server tries while this one stops; what it has, it keeps."""
        first = self.listen()
        with successor(self.path) as won:
            first.close()
        (second,) = won
        with contextlib.closing(second):
            reach(self.path)
            second.socket.accept()[0].close()

    def test_race(self):
        """Three start together, on a free path or a dead socket; one has it, two are told so."""

        def start() -> None:
            barrier.wait(PATIENCE)
            try:
                won.extend(bind(listen))
            except ListenError as error:
                lost.append(str(error))

        listen = ListenConfig(unix_socket=str(self.path))
        barrier = threading.Barrier(3)
        refusal = f"Couldn't listen on unix socket {self.path}: a server answers on it."
        with mock.patch.multiple(unix_sockets, _LOCK_INTERVAL=0, _LOCK_TIMEOUT=PATIENCE):
            for number in range(200):
                won: list[BoundSocket] = []
                lost: list[str] = []
                if number % 2:
                    leave_dead(self.path)
                with ThreadPoolExecutor(3) as starters:
                    for _ in range(3):
                        starters.submit(start)
                self.assertEqual(lost, [refusal] * 2)
                (winner,) = won
                reach(self.path)
                winner.socket.accept()[0].close()
                self.assert_folder("socket")
                winner.close()

    def lock(self) -> int:
        """Lock the folder, as a starter does that is at work; return what it is locked by."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return descriptor

    def test_waiting(self):
        """Another starter is at work, and is waited for; it has the path then."""
        descriptor = self.lock()

        def end_work(seconds: float) -> None:
            other.bind(str(self.path))
            other.listen()
            fcntl.flock(descriptor, fcntl.LOCK_UN)

        with socket.socket(socket.AF_UNIX) as other, mock.patch.object(time, "sleep", end_work):
            self.assertIn("a server answers on it", self.unix_refusal())

    def test_locked_for_ever(self):
        """Somebody holds the lock and does not give it back; the server starts in the end."""
        self.lock()
        with mock.patch.object(unix_sockets, "_LOCK_TIMEOUT", 0.02):
            self.listen()
        reach(self.path)

    def test_no_lock(self):
        """The directory cannot be read, and so not be locked; that is no hindrance."""
        self.addCleanup(self.folder.chmod, 0o700)
        with ordinary_user(self.folder):
            self.folder.chmod(0o300)
            self.listen()
            reach(self.path)
