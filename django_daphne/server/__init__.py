"""A server for any ASGI application. It knows nothing of Django.

Importing it installs no reactor and makes no event loop. What serves is imported when it is first
asked for: a process that only reads the configuration, as most management commands do, does not pay
for it.
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
    WorkerFailure,
)
from .interfaces import AccessRecord
from .metrics.threads import watch_threads
from .metrics_config import MetricsConfig
from .options import Group, Problem, option, timeout
from .protocol_config import HTTP2Config, WebSocketConfig
from .request_id import Trace, current_trace, handling, trace_fields, trace_id
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
from .worker_config import WorkerConfig

if TYPE_CHECKING:
    from .asgi.fitness import find_misfit
    from .bound_socket import BoundSocket
    from .launch import run, supervise
    from .memory import MemoryConnection, MemoryServer
    from .process import ServerProcess, activated
    from .reactor import (
        ForeignReactor,
        LoopReactor,
        find_foreign_reactor,
        forward_twisted_log,
        loop_in_use,
    )
    from .resources import raise_descriptor_limit
    from .server import Server
    from .sockets import bind
    from .tls import check_certificates
    from .workers.inheritance import get_worker

_WHAT_SERVES = {
    "BoundSocket": ".bound_socket",
    "ForeignReactor": ".reactor",
    "LoopReactor": ".reactor",
    "MemoryConnection": ".memory",
    "MemoryServer": ".memory",
    "Server": ".server",
    "ServerProcess": ".process",
    "activated": ".process",
    "bind": ".sockets",
    "check_certificates": ".tls",
    "find_foreign_reactor": ".reactor",
    "find_misfit": ".asgi.fitness",
    "get_worker": ".workers.inheritance",
    "forward_twisted_log": ".reactor",
    "loop_in_use": ".reactor",
    "raise_descriptor_limit": ".resources",
    "run": ".launch",
    "supervise": ".launch",
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
    "LoopReactor",
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
    "Trace",
    "WebSocketConfig",
    "WorkerConfig",
    "WorkerFailure",
    "activated",
    "add_arguments",
    "add_dry_run_arguments",
    "all_options",
    "bind",
    "check_certificates",
    "client_name",
    "contradictions",
    "current_trace",
    "describe",
    "find_foreign_reactor",
    "find_misfit",
    "forward_twisted_log",
    "get_worker",
    "handling",
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
    "supervise",
    "timeout",
    "trace_fields",
    "trace_id",
    "watch_threads",
]


def __getattr__(name: str) -> Any:
    """Import what serves."""
    try:
        module = import_module(_WHAT_SERVES[name], __name__)
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(module, name)
