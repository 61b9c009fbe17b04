"""What every kind of use has: an application, a check, a measurement, and samples to compare."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, ClassVar, Literal

from tls import make_certificate

if TYPE_CHECKING:
    from measure import Run

HERE = Path(__file__).resolve().parent.parent
# The servers run here, so that "trivial:app" names apps/trivial.py to all of them.
APPS = HERE / "apps"

# What the connections of a scenario are made of: TCP alone, TLS, TLS with HTTP/2.
Transport = Literal["tcp", "tls", "http2"]


@dataclass(frozen=True)
class Application:
    """What a server serves: module:name in apps/, as ASGI and, where it can be, as WSGI."""

    asgi: str
    wsgi: str = ""

    @property
    def packages(self) -> tuple[str, ...]:
        """Return the distributions that the application needs beside the server."""
        return ()

    @property
    def is_django(self) -> bool:
        """Return whether it is a project of Django, which our app may be a part of."""
        return False

    def prepare(self, python: Path, folder: Path) -> dict[str, str]:
        """Put into `folder` what the application reads, and return its environment variables.

        The server's command has their names for placeholders. Raises what `subprocess.run` does.
        """
        return {}


@dataclass(frozen=True)
class Column:
    """A column of a report: its head, the attribute of a sample, and how its median is shown.

    A `compared` one is followed by a column with its ratio to the base's.
    """

    head: str
    field: str
    form: str = "{:,.0f}"
    compared: bool = False

    def values(self, samples: Sequence[Sample]) -> list[float]:
        """Return this of each sample."""
        return [getattr(sample, self.field) for sample in samples]

    def middle(self, samples: Sequence[Sample]) -> float:
        """Return the median of it."""
        return median(self.values(samples))


@dataclass(frozen=True)
class Sample(ABC):
    """What one measurement of one server has found.

    `FIGURE` is what servers are compared by, and `LARGER_IS_BETTER` how; `DETAILS` are shown beside
    it. `LEGEND` explains, in Markdown, the heads of these columns.
    """

    FIGURE: ClassVar[Column]
    LARGER_IS_BETTER: ClassVar[bool] = True
    DETAILS: ClassVar[tuple[Column, ...]] = ()
    LEGEND: ClassVar[str] = ""

    @property
    def merit(self) -> float:
        """Return what is better when it is larger."""
        value: float = getattr(self, self.FIGURE.field)
        return value if self.LARGER_IS_BETTER else 1 / value

    def __str__(self) -> str:
        return f"{self.FIGURE.form.format(getattr(self, self.FIGURE.field))} {self.FIGURE.head}"

    @classmethod
    def notes(cls, name: str, samples: Sequence[Sample]) -> list[str]:
        """Return sentences about what makes the samples of the server `name` say less."""
        return []


@dataclass(frozen=True)
class Scenario(ABC):
    """Describe one use of a server: what is asked, and the only right answer."""

    transport: ClassVar[Transport] = "tcp"
    # Whether the server must keep connections of HTTP for a minute on which nothing is asked.
    patient: ClassVar[bool] = False

    name: str
    summary: str
    application: Application

    def prepare(self, python: Path, folder: Path) -> dict[str, str]:
        """Put into `folder` what the servers read, and return their environment variables.

        The server's command has their names for placeholders. Raises what `subprocess.run` does.
        """
        variables = self.application.prepare(python, folder)
        return variables if self.transport == "tcp" else variables | make_certificate(folder)

    @abstractmethod
    def check(self, port: int) -> None:
        """Ask the server on this port for all that is asked of it, and look at all of the answers.

        Raises WrongAnswer, ConnectionRefusedError while nobody listens, and other OSErrors.
        """

    @abstractmethod
    def measure(self, run: Run) -> Sample:
        """Return the sample of one run of one server.

        Raises BenchmarkError, WrongAnswer or OSError when the server did not do what it must.
        """
