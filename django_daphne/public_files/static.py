"""Static files: what collectstatic has left, looked at once and known by URL from then on.

WhiteNoise says what a file's type is, how long it may be kept, whether its name has a hash, which
compressed files stand beside it, and which further headers it gets. Finding, opening and answering
is ours: it follows links out of its folder, and has no answer for If-Range or a refused coding.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from django.conf import UserSettingsHolder, settings
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import Redirect

from .folders import Folder, Found
from .handler import BUSY, Opened
from .responses import NEVER_GUESS, Answer, Header, Representation, Request, represent

# A file, and beside it what WhiteNoise takes for the same in another coding.
_ENDINGS: Final = ("", ".gz", ".br")


@dataclass(frozen=True, slots=True)
class File:
    """A file at its path, in every coding that it is there in, the smallest first."""

    folder: Folder
    path: Path
    representations: tuple[Representation, ...]


class StaticFiles:
    """The files of a folder below a prefix; what is added to the folder later is not seen.

    A file that is changed later is looked at anew, and one that is removed is no longer there.
    """

    blocks = False

    def __init__(self, prefix: str, root: str | os.PathLike[str], max_age: int | None) -> None:
        """Look at every file. ``max_age``, in seconds, is for those without a hash in their name.

        Raise OSError where a folder cannot be read.
        """
        # The settings of WhiteNoise's middleware count, but for how and where it looks for files.
        values: Any = UserSettingsHolder(settings)
        values.STATIC_ROOT = values.WHITENOISE_ROOT = None
        values.WHITENOISE_STATIC_PREFIX = prefix
        values.WHITENOISE_USE_FINDERS = False
        values.WHITENOISE_MAX_AGE = max_age
        self._noise = WhiteNoiseMiddleware(None, settings=values)
        self._known: dict[str, File | Answer] = {}
        self._add(Folder(root), prefix)
        top = getattr(settings, "WHITENOISE_ROOT", None)
        if top:
            self._add(Folder(top), "/")

    def __len__(self) -> int:
        return len(self._known)

    def _add(self, folder: Folder, prefix: str) -> None:
        found = dict(folder.walk())
        statuses = {str(path): each.status for path, each in found.items()}
        for path in found:
            url = prefix + path.relative_to(folder.path).as_posix()
            self._noise.add_file_to_dictionary(url, str(path), stat_cache=statuses)
        for url, made in self._noise.files.items():
            if isinstance(made, Redirect):  # to a folder's index file
                headers = _encode(made.response.headers)
                known: File | Answer = Answer(302, (*headers, (b"Content-Length", b"0")))
            else:
                known = _make_file(folder, made, found)
            self._known[url] = known
        self._noise.files.clear()

    def has(self, path: str) -> bool:
        """Tell whether there is such a file."""
        return path in self._known

    def open(self, path: str, request: Request) -> Opened | Answer | None:
        """Return a file in the best coding that the client takes."""
        known: File | Answer | None = self._known[path]
        for _ in range(2):
            if isinstance(known, Answer) or known is None:
                return known
            chosen = request.choose(known.representations)
            descriptor = known.folder.open(chosen.found.place)
            if descriptor is not None:
                if _is_same(chosen.found.status, os.fstat(descriptor)):
                    return Opened(descriptor, chosen)
                os.close(descriptor)
            known = self._look_again(path, known)
        return BUSY if known is not None else None  # somebody is writing it

    def _look_again(self, url: str, file: File) -> File | None:
        """Return what a file is now that it has changed."""
        paths = [file.path.with_name(file.path.name + ending) for ending in _ENDINGS]
        found = {path: each for path in paths if (each := file.folder.look(path)) is not None}
        if file.path not in found:
            return None
        statuses = {str(path): each.status for path, each in found.items()}
        made = self._noise.get_static_file(str(file.path), url, stat_cache=statuses)
        known = self._known[url] = _make_file(file.folder, made, found)
        return known


def _make_file(folder: Folder, made: Any, found: dict[Path, Found]) -> File:
    """Return in our words what WhiteNoise has made of a file."""
    # As Django's SecurityMiddleware does, which does not see these responses.
    more = [NEVER_GUESS] if settings.SECURE_CONTENT_TYPE_NOSNIFF else []
    each = [(Path(path), _encode(headers) + more) for _, path, headers in made.alternatives]
    representations = tuple(represent(found[path], headers) for path, headers in each)
    plain = next(path for (path, _), it in zip(each, representations, strict=True) if not it.coding)
    return File(folder, plain, representations)


def _encode(headers: Any) -> list[Header]:
    return [(name.encode("latin1"), value.encode("latin1")) for name, value in headers]


def _is_same(then: os.stat_result, now: os.stat_result) -> bool:
    return stat.S_ISREG(now.st_mode) and (then.st_size, then.st_mtime_ns) == (
        now.st_size,
        now.st_mtime_ns,
    )
