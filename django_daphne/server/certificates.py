"""The certificates of a server, and whether their files have changed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from .config import ServerConfig
from .exceptions import ConfigurationError
from .tls import Encryption, load_contexts, warn_of_dates

logger = logging.getLogger("django_daphne.server")

# What tells a file from the one that was there before, however it came there: written to, renamed
# over, or behind a symbolic link that points elsewhere now. None where there is no file.
_Mark: TypeAlias = tuple[int, ...] | None


class Certificates:
    """Reads the certificates of a configuration, and reads them again.

    ``encryption`` is what listeners need of those in use. They stay in use until all files together
    make something that is in order.
    """

    def __init__(self, config: ServerConfig, alpn: Sequence[str]) -> None:
        """Read the files; blocks. Raise ConfigurationError for those that cannot be used."""
        self._config = config
        self._alpn = alpn
        self._seen = self._look()
        self._failure = ""
        self.encryption = self._load()

    def renew(self, *, is_asked: bool = False) -> bool:
        """Read the files if they have changed, or ``is_asked``; tell whether others are in use now.

        Blocks, and never raises: files that cannot be used are one line in the log, and are tried
        again until they can be.
        """
        seen = self._look()
        if seen == self._seen and not self._failure and not is_asked:
            return False
        try:
            encryption = self._load()
        except ConfigurationError as error:
            if is_asked or str(error) != self._failure:
                logger.error("The certificates in use stay: %s", error)
            self._failure = str(error)
            return False
        self._seen, self._failure, self.encryption = seen, "", encryption
        return True

    def __str__(self) -> str:
        return "; ".join(str(context.certificate) for context in self.encryption.contexts)

    def _load(self) -> Encryption:
        contexts = load_contexts(self._config.tls, self._alpn)
        warn_of_dates(contexts)
        timeouts = self._config.timeouts
        return Encryption(
            tuple(contexts), timeouts.tls_handshake_timeout, timeouts.tls_shutdown_timeout
        )

    def _look(self) -> list[_Mark]:
        """Return a mark of each file. To be called before reading: what comes later shows then."""
        tls = self._config.tls
        files = [*tls.certfile, *tls.keyfile, *filter(None, [tls.ca_certs])]
        return [_mark(Path(file)) for file in files]


def _mark(file: Path) -> _Mark:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
