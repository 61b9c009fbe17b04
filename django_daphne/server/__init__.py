"""A server for any ASGI application. It knows nothing of Django.

Importing it installs no reactor and makes no event loop.
"""

from .access_log import AccessLogWriter
from .config import (
    GROUPS,
    OPTIONS,
    Resolved,
    ServerConfig,
    add_arguments,
    describe,
    resolve,
)
from .exceptions import (
    ApplicationError,
    ClientDisconnected,
    ConfigurationError,
    LifespanFailure,
    ListenError,
    PeerError,
    ServerError,
)
from .interfaces import AccessRecord
from .process import run
from .server import Server, raise_descriptor_limit

__all__ = [
    "GROUPS",
    "OPTIONS",
    "AccessLogWriter",
    "AccessRecord",
    "ApplicationError",
    "ClientDisconnected",
    "ConfigurationError",
    "LifespanFailure",
    "ListenError",
    "PeerError",
    "Resolved",
    "Server",
    "ServerConfig",
    "ServerError",
    "add_arguments",
    "describe",
    "raise_descriptor_limit",
    "resolve",
    "run",
]
