"""Media: files that users have sent in, looked for anew with each request.

A user may have sent a page with a script in it, which would run as if the site had written it. What
a browser shows without running anything is shown. All else is for download, and should it be shown
after all, as in a frame, then without scripts and without the site's origin.
"""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from stat import S_ISREG
from typing import Final
from urllib.parse import quote

from whitenoise.media_types import MediaTypes

from .folders import Folder, Found
from .handler import Opened
from .responses import NEVER_GUESS, Header, Request, represent

_SHOWN: Final = ("image/", "audio/", "video/", "font/", "text/plain", "application/pdf")
_NOT_SHOWN: Final = ("image/svg+xml",)

_SANDBOX: Final = (b"Content-Security-Policy", b"sandbox; default-src 'none'")


class MediaFiles:
    """The files of a folder below a prefix, as they are at the time of a request."""

    # The folder may be on another machine, and clients choose what is looked for.
    blocks = True

    def __init__(
        self, prefix: str, root: str | os.PathLike[str], max_age: int | None, types: MediaTypes
    ) -> None:
        """Take a folder, which need not be there yet; ``max_age`` is in seconds."""
        self._prefix = prefix
        self._folder = Folder(root)
        self._types = types
        self._cache: list[Header] = []
        if max_age is not None:
            self._cache.append((b"Cache-Control", b"max-age=%d, public" % max_age))

    def has(self, path: str) -> bool:
        """Tell whether a path is below the prefix."""
        return path.startswith(self._prefix)

    def open(self, path: str, request: Request) -> Opened | None:
        """Return a file. No compressed file beside it is looked for: its user may be another."""
        found = self._folder.find(path.removeprefix(self._prefix))
        descriptor = self._folder.open(found.place) if found is not None else None
        if found is None or descriptor is None:
            return None
        status = os.fstat(descriptor)
        if not S_ISREG(status.st_mode):
            os.close(descriptor)
            return None
        found = Found(found.place, status)
        return Opened(descriptor, represent(found, [*self._cache, *self._describe(path)]))

    def _describe(self, path: str) -> list[Header]:
        """Return what is said of a file because of its name."""
        name = PurePosixPath(path).name
        media_type: str = self._types.get_type(name)
        plain = media_type.startswith(_SHOWN) and media_type not in _NOT_SHOWN
        charset = "; charset=utf-8" if media_type.startswith("text/") else ""
        headers = [(b"Content-Type", f"{media_type}{charset}".encode()), NEVER_GUESS]
        if not plain:
            filename = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
            headers += [(b"Content-Disposition", filename.encode()), _SANDBOX]
        return headers
