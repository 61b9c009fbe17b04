"""Header fields of HTTP/2 in their compressed form (HPACK, RFC 7541).

Reading is ``hpack``'s. A client repeats itself, and a block that refers to the tables and adds
nothing to them means the same until one that does: such blocks are decoded once. Writing uses the
static table and literals only, so there is no state that a response could disturb, and the bytes of
a field are the same on every connection: what was written once is looked up.
"""

from __future__ import annotations

from typing import Final

from hpack import Decoder, HPACKError, OversizedHeaderListError
from hpack.hpack import encode_integer
from hpack.table import HeaderTable

from ..exceptions import HTTP2Error
from ..headers import ONE_TIME_FIELDS
from ..types import Header
from .http2_frames import ErrorCode
from .http2_interfaces import Fields

# Octets with the first bit set refer to one entry of the tables; all ones would go on in the next.
_REFERENCES: Final = bytes(range(0x81, 0xFF))
# Blocks remembered for a connection, in number and bytes.
_MAX_KNOWN_BLOCKS: Final = 64
_MAX_KNOWN_BLOCK: Final = 64

# Fields that were written before, on any connection: bounded in number and bytes.
_MAX_KNOWN_FIELDS: Final = 2048
_MAX_KNOWN_VALUE: Final = 256
_NEVER_INDEXED: Final = frozenset((b"set-cookie",))

_STATIC_FIELDS: Final = {
    field: index for index, field in reversed(list(enumerate(HeaderTable.STATIC_TABLE, 1)))
}
_STATIC_NAMES: Final = {name: index for (name, _), index in _STATIC_FIELDS.items()}
_LENGTH_PREFIX: Final = bytes(encode_integer(_STATIC_NAMES[b"content-length"], 4))
# "From here on no table is used": for a client that wants a smaller one (RFC 7541, section 4.2).
NO_TABLE: Final = b"\x20"

known_fields: dict[Header, bytes] = {}


class FieldReader:
    """Reads the blocks of one connection, in their order."""

    def __init__(self, max_list_size: int) -> None:
        """Take no list of fields of more bytes (as RFC 9113, section 6.5.2, counts them)."""
        self._decoder = Decoder(max_list_size)
        self._known: dict[bytes, Fields] = {}

    def read(self, block: bytes) -> Fields:
        """Return the fields. Raises HTTP2Error: the tables are lost with a bad block."""
        fields = self._known.get(block)
        if fields is not None:
            return fields
        try:
            fields = tuple(self._decoder.decode(block, raw=True))
        except OversizedHeaderListError as error:
            raise HTTP2Error(ErrorCode.ENHANCE_YOUR_CALM, str(error)) from None
        except (HPACKError, IndexError) as error:
            raise HTTP2Error(ErrorCode.COMPRESSION_ERROR, str(error)) from None
        if block.translate(None, _REFERENCES):
            self._known.clear()  # the tables may have changed
        elif len(block) <= _MAX_KNOWN_BLOCK and len(self._known) < _MAX_KNOWN_BLOCKS:
            self._known[block] = fields
        return fields


def write_field(field: Header) -> bytes:
    """Return the bytes of one field with a lower-case name that is not among the known ones."""
    name, value = field
    if name == b"content-length" and len(value) < 0x7F:
        return b"%b%c%b" % (_LENGTH_PREFIX, len(value), value)
    written = _write(name, value)
    if name not in ONE_TIME_FIELDS and len(value) <= _MAX_KNOWN_VALUE:
        if len(known_fields) >= _MAX_KNOWN_FIELDS:
            known_fields.clear()  # the dates of long ago
        known_fields[field] = written
    return written


def _write(name: bytes, value: bytes) -> bytes:
    index = _STATIC_FIELDS.get((name, value))
    if index is not None:
        return bytes((0x80 | index,))
    name_index = _STATIC_NAMES.get(name, 0)
    written = encode_integer(name_index, 4)  # a literal that is not added to the table
    if name in _NEVER_INDEXED:
        written[0] |= 0x10
    if not name_index:
        written += encode_integer(len(name), 7) + name
    return bytes(written + encode_integer(len(value), 7) + value)
