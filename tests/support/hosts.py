"""Machines of a test's own: network namespaces on one switch, or else loopback addresses.

The first machine is outside: what stands in front of the others, or behind all of them, runs there.
A namespace has no name, it belongs to a process. So nothing outside of the test's own processes is
changed, no two tests meet, and nothing is left behind when they have ended.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from .processes import PATIENCE, Process, ProcessTestCase

# Not everybody has these in PATH.
SBIN = ("/usr/sbin", "/sbin")

# Seconds after which a namespace is gone whose test was killed.
LIFETIME = 1800

HELD = re.compile("^held$", re.MULTILINE)


class Machine(NamedTuple):
    """A machine: its number, its address, and what is put before a command to run it there."""

    number: int
    address: str
    enter: tuple[str, ...] = ()


class Network(ABC):
    """Machines that reach each other. ``kind`` says what they are."""

    kind: str
    machines: list[Machine]

    @abstractmethod
    def unplug(self, machine: Machine, process: Process) -> None:
        """Let the machine, on which this process runs, fall silent without a word."""

    @abstractmethod
    def plug(self, machine: Machine, process: Process) -> None:
        """Let it be heard again."""


class Loopback(Network):
    """Addresses of this machine. A machine that is unplugged is a process that is stopped."""

    kind = "loopback addresses"

    def __init__(self, count: int) -> None:
        self.machines = [Machine(number, f"127.0.0.{number + 1}") for number in range(count)]

    def unplug(self, machine: Machine, process: Process) -> None:
        process.send_signal(signal.SIGSTOP)

    def plug(self, machine: Machine, process: Process) -> None:
        process.send_signal(signal.SIGCONT)


class Namespaces(Network):
    """Network namespaces on one switch. A machine that is unplugged loses what is sent to it.

    Raises OSError where they are not permitted, or a program is missing.
    """

    kind = "network namespaces"

    def __init__(self, case: ProcessTestCase, count: int) -> None:
        self._case = case
        self._ip, self._nsenter, self._unshare = map(find_program, ("ip", "nsenter", "unshare"))
        outside = self._make(0, ())
        self.machines = [outside]
        self._configure(
            outside,
            "link set lo up",
            "link add lan type bridge",
            f"address add {outside.address}/24 dev lan",
            "link set lan up",
        )
        for number in range(1, count):
            machine = self._make(number, outside.enter)
            holder = machine.enter[machine.enter.index("--target") + 1]
            self._configure(
                outside,
                f"link add port{number} type veth peer name cable netns {holder}",
                f"link set port{number} master lan up",
            )
            self._configure(
                machine,
                "link set lo up",
                f"address add {machine.address}/24 dev cable",
                "link set cable up",
            )
            self.machines.append(machine)

    def _make(self, number: int, enter: Sequence[str]) -> Machine:
        """Start the process that a namespace belongs to."""
        is_root = os.geteuid() == 0
        # Who is not root is root in a user namespace, which all machines are in.
        user = () if is_root or enter else ("--user", "--map-root-user")
        hold = ("sh", "-c", f"echo held && exec sleep {LIFETIME}")
        holder = self._case.start_command([*enter, self._unshare, *user, "--net", *hold])
        if not holder.appears(HELD, PATIENCE):
            raise PermissionError(holder.errors.strip())
        which = ("--net",) if is_root else ("--user", "--preserve-credentials", "--net")
        entry = (self._nsenter, "--target", str(holder.pid), *which)
        return Machine(number, f"10.77.0.{number + 1}", entry)

    def _configure(self, machine: Machine, *lines: str) -> None:
        done = subprocess.run(
            [*machine.enter, self._ip, "-batch", "-"],
            input="\n".join(lines),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode:
            raise PermissionError(done.stderr.strip())

    def unplug(self, machine: Machine, process: Process) -> None:
        self._configure(self.machines[0], f"link set port{machine.number} nomaster")

    def plug(self, machine: Machine, process: Process) -> None:
        self._configure(self.machines[0], f"link set port{machine.number} master lan")


def find_program(name: str) -> str:
    """Return the path of a program; raise FileNotFoundError without it."""
    search = os.pathsep.join((os.environ.get("PATH", os.defpath), *SBIN))
    path = shutil.which(name, path=search)
    if path is None:
        raise FileNotFoundError(f"missing: {name}")
    return path


def make_network(case: ProcessTestCase, count: int) -> Network:
    """Return so many machines of the better kind that is possible here."""
    try:
        return Namespaces(case, count)
    except OSError:
        return Loopback(count)
