"""The numbers of one process, in memory that another process may look at.

Whoever writes adds to items of a memoryview, without locks; whoever reads copies them item by item.
An item is eight aligned bytes, which 64-bit machines read and write at once, so no number is ever
seen half written. Two numbers that belong together may be seen a moment apart.

The memory is a file without a name. It is there as long as any process has it, whatever becomes of
the one that writes: what a killed worker has counted is not lost.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Final

from .families import LAYOUT, Layout

# The layout's mark stands in front of the numbers.
_HEADER: Final = 8


class PageError(ValueError):
    """A descriptor is not that of a page, or of one of another version's layout."""


class Page:
    """Numbers in shared memory: ``counts`` are whole, ``seconds`` are not.

    Only one process writes. ``create`` it in the process that reads, and ``attach`` to it in the
    other, to which ``fileno`` is handed over.
    """

    def __init__(self, descriptor: int, layout: Layout = LAYOUT) -> None:
        """Map the memory behind a descriptor, which is the page's from now on."""
        self._descriptor = descriptor
        split = _HEADER + 8 * layout.counts
        self._map = mmap.mmap(descriptor, split + 8 * layout.seconds)
        whole = memoryview(self._map)
        self._header = whole[:_HEADER].cast("q")
        self.counts: memoryview[int] = whole[_HEADER:split].cast("q")
        self.seconds: memoryview[float] = whole[split:].cast("d")
        whole.release()

    @classmethod
    def create(cls, layout: Layout = LAYOUT) -> Page:
        """Return a page of zeros."""
        descriptor = _make_file()
        try:
            os.ftruncate(descriptor, _length(layout))
            page = cls(descriptor, layout)
        except BaseException:
            os.close(descriptor)
            raise
        page._header[0] = layout.mark
        return page

    @classmethod
    def attach(cls, descriptor: int, layout: Layout = LAYOUT) -> Page:
        """Return the page behind an inherited descriptor, which the page closes when it is closed.

        Raises PageError; the descriptor then is as before.
        """
        try:
            if os.fstat(descriptor).st_size != _length(layout):
                raise PageError("not a page of this version's metrics")
            page = cls(descriptor, layout)
        except OSError as error:
            raise PageError(f"not a page of metrics ({error})") from None
        if page._header[0] != layout.mark:
            page._release()
            raise PageError("not a page of this version's metrics")
        os.set_inheritable(descriptor, False)
        return page

    def fileno(self) -> int:
        """Return the descriptor to hand to the process that writes; it is not inheritable."""
        return self._descriptor

    def read(self) -> tuple[list[int], list[float]]:
        """Return a copy of the whole numbers and of the others."""
        return self.counts.tolist(), list(self.seconds)

    def close(self) -> None:
        """Let the memory go, here. Called again, it does nothing."""
        if self._descriptor >= 0:
            self._release()
            os.close(self._descriptor)
            self._descriptor = -1

    def _release(self) -> None:
        self._header.release()
        self.counts.release()
        self.seconds.release()
        self._map.close()


def _length(layout: Layout) -> int:
    return _HEADER + 8 * (layout.counts + layout.seconds)


def _make_file() -> int:
    """Return a descriptor of memory, or of a file on disk where there is no such thing."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("django-daphne-metrics")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
