"""The configuration of the server: every option, once.

Flags, settings keys, environment variables, system checks, `--help`, `--print-config` and the
reference page are made from the fields below (see `options`): here alone one is added or changed.
Sizes are in bytes, times in seconds; None is "no limit" or "never" unless the field says more.
"""

from __future__ import annotations

import logging
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .addresses import BIND_FORMS, TRUSTED_FORMS, ProxyProtocol, TrustedPeers, parse_bind
from .consistency import contradictions
from .exceptions import ConfigurationError
from .metrics_config import MetricsConfig
from .options import CLOSED, Group, Option, limit, option, timeout
from .protocol_config import HTTP2Config, WebSocketConfig
from .sources import read_values
from .tls_config import TLSConfig
from .worker_config import WorkerConfig


def _is_log_format(value: str) -> bool:
    # Using it finds what the formatter's own validation lets through, such as "%(message)z".
    return bool(value and logging.Formatter(value).format(logging.makeLogRecord({"msg": "x"})))


_is_token = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
# Two slashes at the beginning would name a host, in links that begin with it.
is_root_path = re.compile(r"(/(?!/)[^\x00-\x20\x7f?#\\]*(?<!/))?").fullmatch
_is_path = re.compile(r"/[^\x00-\x20\x7f?#%]*").fullmatch
_is_field_value = re.compile(r"(?!\s)[\t\x20-\x7e\xa0-\xff]*(?<!\s)").fullmatch

# Headers whose meaning HTTP knows, which is never that of a request's id.
_TAKEN_NAMES = frozenset(
    (
        *("connection", "content-length", "transfer-encoding", "upgrade", "date", "server"),
        *("host", "forwarded", "cookie", "set-cookie", "traceparent", "tracestate"),
    )
)

_FIELD_NAME: dict[str, Any] = {
    "rule": lambda name: _is_token(name) and name.lower() not in ("forwarded", "host"),
    "allowed": "the name of a header other than Host and Forwarded",
}


class ListenConfig(Group, title="Listening"):
    """Say where the server listens."""

    bind: tuple[str, ...] = option(
        (),
        help=f"An address to listen on: {BIND_FORMS}. A port given here wins over --port.",
        short="-b",
        rule=lambda values: all(map(parse_bind, values)),
        allowed=f"a list of addresses, each {BIND_FORMS}",
    )
    port: int | None = option(
        None,
        help="The port of every address that names none, or of 127.0.0.1; 0 for any free port.",
        short="-p",
        minimum=0,
        maximum=65535,
        none_means="8000",
    )
    insecure_bind: tuple[str, ...] = option(
        (),
        help="An address without TLS beside those with it, in the forms of --bind.",
        rule=lambda values: all(map(parse_bind, values)),
        allowed=f"a list of addresses, each {BIND_FORMS}",
    )
    unix_socket: str | None = option(
        None, help="The path of a Unix socket to listen on.", short="-u", path=True
    )
    unix_socket_mode: int = option(
        0o666,
        help="The permissions of the Unix socket, octal; its folder can narrow them.",
        octal=True,
        minimum=0,
        maximum=0o777,
        allowed='octal digits such as "660", in Python 0o660',
    )
    unix_socket_owner: str | None = option(
        None, help="The user, by name or number, who will own the Unix socket.", none_means="yours"
    )
    unix_socket_group: str | None = option(
        None, help="The group, by name or number, of the Unix socket.", none_means="yours"
    )
    fd: int | None = option(
        None,
        help="The number of an inherited descriptor, a listening socket.",
        minimum=0,
        maximum=2**31 - 1,
    )
    endpoint: tuple[str, ...] = option(
        (), help="A Twisted endpoint string to listen on.", short="-e", rule=all
    )
    backlog: int = option(
        2048, help="Connections waiting to be accepted.", minimum=1, maximum=2**31 - 1
    )
    proxy_protocol: ProxyProtocol = option(
        "off",
        help="The PROXY protocol that every connection has to begin with, from a trusted proxy;"
        ' -b "HOST:PORT proxy_protocol=MODE" says it of one address.',
    )


class HTTPConfig(Group, title="HTTP"):
    """Say what the server tells clients and applications about itself."""

    server_name: str = option(
        "daphne",
        help="The value of the Server header; empty for no such header.",
        short="-s",
        negatable=True,
        rule=_is_field_value,
        allowed="a header value of printable Latin-1 characters, or an empty text",
    )
    root_path: str = option(
        "",
        help="The path under which the application is mounted: root_path of every scope.",
        rule=is_root_path,
        allowed='a path that starts with "/" and does not end with "/", or an empty text',
    )

    health_path: str | None = option(
        None,
        help="A path that is answered before the application and not logged: with 200, and with 503"
        " from the first signal to stop.",
        rule=_is_path,
        allowed='a path that begins with "/", without a query',
        none_means="no such path",
    )
    request_id_response: bool = option(
        False,
        help="Name the request in a header of its response, that of --request-id-header; one of the"
        " application's wins.",
    )


class ProxyConfig(Group, title="Proxies"):
    """Say which proxies are believed, and what they say."""

    trusted_proxies: tuple[str, ...] = option(
        ("127.0.0.0/8", "::1", "unix"),
        help=f"Who is believed about clients: {TRUSTED_FORMS}.",
        rule=lambda values: bool(TrustedPeers(values)),
        allowed=f"a list, each {TRUSTED_FORMS}",
        commas=True,
        negatable=True,
    )
    proxy_headers: bool = option(
        False, help="Believe the headers of trusted proxies about client, scheme and port."
    )
    proxy_headers_format: Literal["auto", "x-forwarded", "forwarded"] = option(
        "auto",
        help="The headers that the proxy sets: X-Forwarded-For, -Proto and -Port, or Forwarded of"
        " RFC 7239; auto takes what is there, and refuses a request with both.",
    )
    proxy_headers_host: str | None = option(
        None,
        help="The header with the client's address, with --proxy-headers.",
        none_means="X-Forwarded-For",
        **_FIELD_NAME,
    )
    proxy_headers_port: str | None = option(
        None,
        help="The header with the client's port, with --proxy-headers.",
        none_means="the port behind the address, if it has one",
        **_FIELD_NAME,
    )
    request_id_header: str | None = option(
        "X-Request-ID",
        help="The header in which a trusted proxy names a request; other requests get an id here.",
        rule=lambda name: _is_token(name) and name.lower() not in _TAKEN_NAMES,
        allowed="the name of a header that means nothing else to HTTP",
        none_means="every request gets its id here",
    )


class LimitsConfig(Group, title="Limits"):
    """Bound what one client, and all together, can make the server hold."""

    max_request_line: int = limit(8192, "The longest request line.", "status 414")
    max_header_size: int = limit(65536, "All headers of a request together.", "status 431")
    max_header_count: int = limit(500, "Headers of a request.", "status 431", unit="headers")
    max_body_size: int | None = limit(None, "The largest request body.", "status 413", minimum=0)
    max_pipelined_size: int = limit(
        65536, "What is kept of the requests after the one being answered.", "reading pauses"
    )
    body_buffer_size: int = limit(
        65536,
        "What is held of a body, or of messages, until the application takes it.",
        "reading pauses",
    )
    write_buffer_size: int = limit(
        65536, "What is held for a client that reads slowly.", "send() waits"
    )
    max_discard_size: int = limit(
        1048576, "What is thrown away of a body that was answered too early.", CLOSED, minimum=0
    )
    limit_concurrency: int | None = limit(
        None, "Requests running at the same time.", "status 503", unit="requests"
    )
    max_connections: int | None = limit(
        None,
        "Connections open at the same time.",
        "new ones are reset",
        unit="connections",
        none_means="as the limit on open files allows",
    )


class TimeoutConfig(Group, title="Timeouts"):
    """Bound how long the server waits, for each thing that it waits for."""

    http_timeout: float | None = timeout(
        None,
        "The whole of a request and its response.",
        "status 503",
        short="-t",
        aliases=("--http_timeout",),
        none_values=(0, -1),
    )
    header_timeout: float | None = timeout(30, "The wait for the head of a request.", "status 408")
    body_timeout: float | None = timeout(60, "The wait for more of a body.", "status 408")
    keep_alive_timeout: float | None = timeout(
        60, "The wait for the next request on a connection.", CLOSED, minimum=0
    )
    write_timeout: float | None = timeout(
        60, "The wait for a client that does not read.", "the connection is reset"
    )
    half_close_timeout: float | None = timeout(
        3, "The wait for a client that closed its own side.", "http.disconnect", minimum=0
    )
    linger_timeout: float | None = timeout(
        5,
        "The wait for a client that was answered early and still sends, or for its close frame.",
        CLOSED,
        minimum=0,
    )
    application_close_timeout: float | None = timeout(
        10, "The wait for the application after its client left.", "it is cancelled", minimum=0
    )
    graceful_timeout: float | None = timeout(
        30, "The wait for running requests when the server stops.", "they are cancelled", minimum=0
    )
    graceful_share: float = option(
        0.2,
        help="The share of --graceful-timeout after which streams and WebSockets are told that the"
        " server stops; for as long they go on.",
        outcome="streams get http.disconnect, WebSockets are closed with 1012",
        unit="share",
        minimum=0,
        maximum=1,
    )
    shutdown_delay: float = option(
        0,
        help="The time for which a server that has been told to stop accepts requests as before,"
        " while whoever sends them finds out.",
        outcome="it stops accepting",
        unit="seconds",
        minimum=0,
    )
    lifespan_timeout: float | None = timeout(
        60, "The wait for the application to start, and to stop.", "the server waits no longer"
    )
    tls_handshake_timeout: float | None = timeout(30, "The wait for a TLS handshake.", CLOSED)
    tls_shutdown_timeout: float | None = timeout(
        3, "The wait for the client's end of TLS, after the server's.", CLOSED
    )


class ProcessConfig(Group, title="Process"):
    """Say how the process runs."""

    loop: Literal["auto", "uvloop", "asyncio"] = option(
        "auto", help="The event loop; auto takes uvloop where it is installed."
    )
    lifespan: Literal["auto", "on", "off"] = option(
        "auto", help="Lifespan events; auto serves an application that does not know them without."
    )
    executor_threads: int | None = option(
        None,
        help="Threads of the event loop's default executor.",
        unit="threads",
        minimum=1,
        variables=("ASGI_THREADS",),
        none_means="as Python decides",
    )
    pid_file: str | None = option(
        None,
        help="A file for the number of the process, or of the supervisor; removed at the end.",
        path=True,
    )


class LogConfig(Group, title="Logging"):
    """Say what is logged, and where."""

    access_log: str | None = option(
        None, help='A file for the access log; "-" is standard output.', path=True
    )
    access_log_format: Literal["daphne", "combined", "extended", "json"] = option(
        "daphne",
        help="The format of the access log; extended is combined with duration and request id.",
    )
    log_fmt: str = option(
        "%(asctime)-15s %(levelname)-8s %(message)s",
        help="The format of log lines.",
        rule=_is_log_format,
        allowed="a format of Python's logging module, with %-style fields",
    )
    verbosity: int = option(
        1,
        help="How much is logged: 0 warnings, 1 requests, 2 details, 3 the event loop's debugging.",
        short="-v",
        minimum=0,
        maximum=3,
        core_only=True,
    )


def log_level(verbosity: int) -> int:
    """Return the level of Python's logging module for a verbosity from 0 to 3."""
    return (logging.WARNING, logging.INFO, logging.DEBUG, logging.DEBUG)[verbosity]


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Hold the whole configuration, one attribute per group; without arguments, the defaults."""

    listen: ListenConfig = field(default_factory=ListenConfig)
    tls: TLSConfig = field(default_factory=TLSConfig)
    http: HTTPConfig = field(default_factory=HTTPConfig)
    proxy: ProxyConfig = field(default_factory=ProxyConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    timeouts: TimeoutConfig = field(default_factory=TimeoutConfig)
    http2: HTTP2Config = field(default_factory=HTTP2Config)
    websocket: WebSocketConfig = field(default_factory=WebSocketConfig)
    process: ProcessConfig = field(default_factory=ProcessConfig)
    workers: WorkerConfig = field(default_factory=WorkerConfig)
    logging: LogConfig = field(default_factory=LogConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> ServerConfig:
        """Make a configuration from values by field name; the others have their defaults."""
        groups: dict[str, Any] = {}
        for attribute, group in GROUPS.items():
            names = values.keys() & {item.name for item in group.options}
            groups[attribute] = group(**{name: values[name] for name in names})
        return cls(**groups)

    def values(self) -> dict[str, Any]:
        """Return every value by its field name, all groups in one dictionary."""
        groups = [getattr(self, attribute) for attribute in GROUPS]
        return {item.name: getattr(group, item.name) for group in groups for item in group.options}

    def replace(self, **values: Any) -> ServerConfig:
        """Return a copy with other values, by field name whatever the group.

        Raise ConfigurationError naming every unknown name, wrong value and contradiction.
        """
        changes = read_values(OPTIONS, values)
        config = self.from_values(self.values() | changes.plain())
        if problems := [*map(str, changes.problems), *contradictions(config)]:
            raise ConfigurationError("\n".join(problems))
        return config


GROUPS: Mapping[str, type[Group]] = typing.get_type_hints(ServerConfig)
OPTIONS: tuple[Option, ...] = tuple(o for group in GROUPS.values() for o in group.options)
