"""What a client has sent and nobody has used: heads are cut out of it, within their limits."""

from __future__ import annotations

import re
from typing import Final

from ..config import LimitsConfig
from ..exceptions import PeerError

_HEAD_END: Final = b"\r\n\r\n"
_CR: Final = ord("\r")
# What no head contains, whole or not: a line that ends in a bare LF, a first byte of no method.
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_FIRST_BYTE: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z\r]")


class InputBuffer:
    """Bytes with an offset: what was used is not copied away before more has come."""

    __slots__ = ("_blank_line", "_limits", "_scanned", "_small", "data", "offset")

    def __init__(self, limits: LimitsConfig) -> None:
        self._limits = limits
        # A head no larger than this is within both limits.
        self._small = min(limits.max_request_line, limits.max_header_size)
        self.data = b""
        self.offset = 0
        self._scanned = 0  # up to here there is no end of a head
        self._blank_line = False  # one before the request line was passed over

    def __len__(self) -> int:
        return len(self.data) - self.offset

    @property
    def is_idle(self) -> bool:
        """Whether nothing of a request has come."""
        return self.offset == len(self.data) and not self._blank_line

    def append(self, data: bytes) -> None:
        """Add what has come."""
        if self.offset == len(self.data):
            self.data = data
            self._scanned = 0
        else:
            self.data = self.data[self.offset :] + data
            self._scanned = max(self._scanned - self.offset, 0)
        self.offset = 0

    def clear(self) -> None:
        """Throw everything away."""
        self.data = b""
        self.offset = 0

    def take(self) -> bytes:
        """Take everything out."""
        data = self.data[self.offset :]
        self.clear()
        return data

    def cut_head(self) -> bytes | None:
        """Take a head out, with its blank line; None when it has not all come. Not when empty.

        Raises PeerError for a head over a limit, and for what can never become one.
        """
        data, offset = self.data, self.offset
        if data[offset] == _CR and data.startswith(b"\r\n", offset):
            # RFC 9112, section 2.2: one is passed over, for clients that send it after a body.
            if self._blank_line:
                raise PeerError(400, "blank lines before the request line")
            self._blank_line = True
            offset = self.offset = offset + 2
        end = data.find(_HEAD_END, max(offset, self._scanned - 3))
        stop = len(data) if end < 0 else end
        if stop - offset > self._small:
            self._check_sizes(offset, stop, whole=end >= 0)
        if end < 0:
            self._check_beginning(offset)
            return None
        self.offset = end + 4
        self._scanned = self.offset
        self._blank_line = False
        return data[offset : end + 4] if offset or end + 4 < len(data) else data

    def _check_sizes(self, offset: int, stop: int, whole: bool) -> None:
        line_end = self.data.find(b"\r\n", offset, stop + 2)
        if not whole:
            stop -= 3  # as much of its end may be there
        if (stop if line_end < 0 else line_end) - offset > self._limits.max_request_line:
            raise PeerError(414, "request line over max_request_line", limit="max_request_line")
        if line_end >= 0 and stop - line_end > self._limits.max_header_size:
            raise PeerError(431, "header over max_header_size", limit="max_header_size")

    def _check_beginning(self, offset: int) -> None:
        """Refuse at once what would be waited for in vain."""
        data = self.data
        if offset < len(data) and _FIRST_BYTE.match(data, offset) is None:
            raise PeerError(400, "not a request")
        if _BARE_LF.search(data, max(offset, self._scanned - 1)) is not None:
            raise PeerError(400, "line ends in a bare LF")
        self._scanned = len(data)
