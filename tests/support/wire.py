"""The two seams of a server in the hands of a test: a transport, and a clock."""

from django_daphne.server.manual_loop import ManualClock
from django_daphne.server.memory_transport import CLIENT, HOST, MemoryTransport

__all__ = ["CLIENT", "HOST", "ManualClock", "MemoryTransport"]
