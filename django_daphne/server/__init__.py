"""A server for any ASGI application. It knows nothing of Django.

Importing it installs no reactor and makes no event loop. What serves is imported when it is first
asked for: a process that only reads the configuration, as most management commands do, does not pay
for Twisted.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .access_log import AccessLog, client_name, printable, set_up_access_log
from .config import (
    GROUPS,
    OPTIONS,
    HTTPConfig,
    LimitsConfig,
    ListenConfig,
    LogConfig,
    ProcessConfig,
    ProxyConfig,
    ServerConfig,
    TimeoutConfig,
    log_level,
)
from .consistency import contradictions
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
from .metrics.threads import watch_threads
from .metrics_config import MetricsConfig
from .options import Group, Problem, option, timeout
from .protocol_config import HTTP2Config, WebSocketConfig
from .resolution import (
    Resolved,
    add_arguments,
    add_dry_run_arguments,
    all_options,
    describe,
    merge,
    resolve,
)
from .sources import Layer, read_environment, read_settings
from .tls_config import TLSConfig

if TYPE_CHECKING:
    from .asgi.fitness import find_misfit
    from .memory import MemoryConnection, MemoryServer
    from .process import ServerProcess, activated, keep_what_is_loaded, run
    from .reactor import (
        ForeignReactor,
        find_foreign_reactor,
        forward_twisted_log,
        loop_in_use,
        start_reactor,
    )
    from .server import Server, raise_descriptor_limit
    from .sockets import BoundSocket, bind
    from .tls import check_certificates

_WHAT_SERVES = {
    "BoundSocket": ".sockets",
    "ForeignReactor": ".reactor",
    "MemoryConnection": ".memory",
    "MemoryServer": ".memory",
    "Server": ".server",
    "ServerProcess": ".process",
    "activated": ".process",
    "bind": ".sockets",
    "check_certificates": ".tls",
    "find_foreign_reactor": ".reactor",
    "find_misfit": ".asgi.fitness",
    "forward_twisted_log": ".reactor",
    "keep_what_is_loaded": ".process",
    "loop_in_use": ".reactor",
    "raise_descriptor_limit": ".server",
    "run": ".process",
    "start_reactor": ".reactor",
}

__all__ = [
    "GROUPS",
    "OPTIONS",
    "AccessLog",
    "AccessRecord",
    "ApplicationError",
    "BoundSocket",
    "ClientDisconnected",
    "ConfigurationError",
    "ForeignReactor",
    "Group",
    "HTTP2Config",
    "HTTPConfig",
    "Layer",
    "LifespanFailure",
    "LimitsConfig",
    "ListenConfig",
    "ListenError",
    "LogConfig",
    "MemoryConnection",
    "MemoryServer",
    "MetricsConfig",
    "PeerError",
    "Problem",
    "ProcessConfig",
    "ProxyConfig",
    "Resolved",
    "Server",
    "ServerConfig",
    "ServerError",
    "ServerProcess",
    "TLSConfig",
    "TimeoutConfig",
    "WebSocketConfig",
    "activated",
    "add_arguments",
    "add_dry_run_arguments",
    "all_options",
    "bind",
    "check_certificates",
    "client_name",
    "contradictions",
    "describe",
    "find_foreign_reactor",
    "find_misfit",
    "forward_twisted_log",
    "keep_what_is_loaded",
    "log_level",
    "loop_in_use",
    "merge",
    "option",
    "printable",
    "raise_descriptor_limit",
    "read_environment",
    "read_settings",
    "resolve",
    "run",
    "set_up_access_log",
    "start_reactor",
    "timeout",
    "watch_threads",
]


def __getattr__(name: str) -> Any:
    """Import what serves."""
    try:
        module = import_module(_WHAT_SERVES[name], __name__)
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(module, name)
