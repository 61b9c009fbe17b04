"""The configuration of the server: every option, once.

Flags, settings keys, environment variables, system checks, `--help`, `--print-config` and the
reference page are made from the fields below (see `options`): here alone one is added or changed.
Sizes are in bytes, times in seconds; None is "no limit" or "never" unless the field says more.
"""

from __future__ import annotations

import argparse
import ipaddress
import logging
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from . import options
from .exceptions import ConfigurationError
from .options import Group, Layer, Option, option

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000
BIND_FORMS = "host, host:port or [IPv6 address]:port"

_BRACKETED = re.compile(r"\[(?P<host>[^\[\]]*)\](:(?P<port>[0-9]{1,5}))?")
_PLAIN = re.compile(r"(?P<host>[^\s:/\[\]*?#@,]+)(:(?P<port>[0-9]{1,5}))?")


def parse_bind(value: str) -> tuple[str, int | None]:
    """Split a bind value into host, without brackets, and port, None where it names none.

    Raise ValueError for anything but host, host:port, an IPv6 address without brackets and port,
    and [IPv6 address] with or without port.
    """
    if value.count(":") > 1 and "[" not in value:
        return str(ipaddress.IPv6Address(value)), None
    match = _BRACKETED.fullmatch(value) or _PLAIN.fullmatch(value)
    if match is None or int(match["port"] or 0) > 65535:
        raise ValueError(value)
    host = match["host"]
    if value.startswith("["):
        host = str(ipaddress.IPv6Address(host))
    return host, None if match["port"] is None else int(match["port"])


def _is_log_format(value: str) -> bool:
    # Using it finds what the formatter's own validation lets through, such as "%(message)z".
    return bool(value and logging.Formatter(value).format(logging.makeLogRecord({"msg": "x"})))


_is_token = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_is_root_path = re.compile(r"(/[^\x00-\x20\x7f?#]*[^\x00-\x20\x7f?#/])?").fullmatch
_is_field_value = re.compile(r"(?!\s)[\t\x20-\x7e\xa0-\xff]*(?<!\s)").fullmatch

_CLOSED = "the connection is closed"
_LATER = "Takes effect with WebSocket support."


def _limit(default: Any, help: str, outcome: str, **traits: Any) -> Any:
    traits = {"unit": "bytes", "minimum": 1, "none_means": "no limit"} | traits
    return option(default, help=help, outcome=outcome, **traits)


def _timeout(default: float | None, help: str, outcome: str, **traits: Any) -> float | None:
    # Where zero would only mean that nothing ever succeeds, the smallest timeout is a millisecond.
    traits = {"minimum": 0.001, "none_values": (-1,), "none_means": "never"} | traits
    return option(default, help=help, outcome=outcome, unit="seconds", **traits)


def _header(part: str, usual: str) -> str | None:
    text = f"The header with the client's {part}, with --proxy-headers."
    allowed = "the name of a header"
    return option(None, help=text, rule=_is_token, allowed=allowed, none_means=usual)


class ListenConfig(Group, title="Listening"):
    """Say where the server listens; `tcp_addresses` applies the defaults."""

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
    unix_socket: str | None = option(
        None, help="The path of a Unix socket to listen on.", short="-u", path=True
    )
    fd: int | None = option(
        None, help="The number of an inherited descriptor, a listening socket.", minimum=0
    )
    endpoint: tuple[str, ...] = option(
        (), help="A Twisted endpoint string to listen on.", short="-e", rule=all
    )
    backlog: int = option(
        2048, help="Connections waiting to be accepted.", minimum=1, maximum=2**31 - 1
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
        rule=_is_root_path,
        allowed='a path that starts with "/" and does not end with "/", or an empty text',
    )


class ProxyConfig(Group, title="Proxy headers"):
    """Say which headers of a trusted proxy are believed."""

    proxy_headers: bool = option(
        False, help="Believe X-Forwarded-For, -Port and -Proto; only where a proxy sets them."
    )
    proxy_headers_host: str | None = _header("address", "X-Forwarded-For")
    proxy_headers_port: str | None = _header("port", "X-Forwarded-Port")


class LimitsConfig(Group, title="Limits"):
    """Bound what one client, and all together, can make the server hold."""

    max_request_line: int = _limit(8192, "The longest request line.", "status 414")
    max_header_size: int = _limit(65536, "All headers of a request together.", "status 431")
    max_header_count: int = _limit(500, "Headers of a request.", "status 431", unit="headers")
    max_body_size: int | None = _limit(None, "The largest request body.", "status 413", minimum=0)
    max_pipelined_size: int = _limit(
        65536, "What is kept of the requests after the one being answered.", "reading pauses"
    )
    body_buffer_size: int = _limit(
        65536, "What is held of a body until the application takes it.", "reading pauses"
    )
    write_buffer_size: int = _limit(
        65536, "What is held of a response for a client that reads slowly.", "send() waits"
    )
    max_discard_size: int = _limit(
        1048576, "What is thrown away of a body that was answered too early.", _CLOSED, minimum=0
    )
    limit_concurrency: int | None = _limit(
        None, "Requests running at the same time.", "status 503", unit="requests"
    )
    max_connections: int | None = _limit(
        None,
        "Connections open at the same time.",
        "new ones are reset",
        unit="connections",
        none_means="as the limit on open files allows",
    )


class TimeoutConfig(Group, title="Timeouts"):
    """Bound how long the server waits, for each thing that it waits for."""

    http_timeout: float | None = _timeout(
        None,
        "The whole of a request and its response.",
        "status 503",
        short="-t",
        aliases=("--http_timeout",),
        none_values=(0, -1),
    )
    header_timeout: float | None = _timeout(30, "The wait for the head of a request.", "status 408")
    body_timeout: float | None = _timeout(60, "The wait for more of a body.", "status 408")
    keep_alive_timeout: float | None = _timeout(
        60, "The wait for the next request on a connection.", _CLOSED, minimum=0
    )
    write_timeout: float | None = _timeout(
        60, "The wait for a client that does not read its response.", "the connection is reset"
    )
    half_close_timeout: float | None = _timeout(
        3, "The wait for a client that closed its own side.", "http.disconnect", minimum=0
    )
    linger_timeout: float | None = _timeout(
        5, "The wait for a client that was answered early and still sends.", _CLOSED, minimum=0
    )
    application_close_timeout: float | None = _timeout(
        10, "The wait for the application after its client left.", "it is cancelled", minimum=0
    )
    graceful_timeout: float | None = _timeout(
        30, "The wait for running requests when the server stops.", "they are cancelled", minimum=0
    )
    lifespan_timeout: float | None = _timeout(
        60, "The wait for the application to start, and to stop.", "the server waits no longer"
    )


class WebSocketConfig(Group, title="WebSocket"):
    """Bound the life and the messages of a WebSocket; takes effect with WebSocket support."""

    websocket_timeout: float | None = _timeout(
        86400, f"The life of a WebSocket. {_LATER}", "closed", aliases=("--websocket_timeout",)
    )
    websocket_connect_timeout: float | None = _timeout(
        5,
        f"The wait for the application to accept or deny a WebSocket. {_LATER}",
        "the handshake is refused",
        aliases=(
            "--websocket_connect_timeout",
            "--websocket-handshake-timeout",
            "--websocket_handshake_timeout",
        ),
    )
    ping_interval: float | None = _timeout(20, f"The silence of a client. {_LATER}", "a ping")
    ping_timeout: float | None = _timeout(
        30, f"The wait for the answer to a ping. {_LATER}", _CLOSED
    )
    websocket_max_message_size: int | None = _limit(
        1048576, f"The largest message. {_LATER}", "close code 1009", none_values=(0, -1)
    )
    websocket_max_frame_size: int | None = _limit(
        1048576, f"The largest frame. {_LATER}", "close code 1009", none_values=(0, -1)
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


class LogConfig(Group, title="Logging"):
    """Say what is logged, and where."""

    access_log: str | None = option(
        None, help='A file for the access log; "-" is standard output.', path=True
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


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Hold the whole configuration, one attribute per group; without arguments, the defaults."""

    listen: ListenConfig = field(default_factory=ListenConfig)
    http: HTTPConfig = field(default_factory=HTTPConfig)
    proxy: ProxyConfig = field(default_factory=ProxyConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    timeouts: TimeoutConfig = field(default_factory=TimeoutConfig)
    websocket: WebSocketConfig = field(default_factory=WebSocketConfig)
    process: ProcessConfig = field(default_factory=ProcessConfig)
    logging: LogConfig = field(default_factory=LogConfig)

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
        changes = options.read_values(OPTIONS, values)
        config = self.from_values(self.values() | changes.plain())
        if problems := [*map(str, changes.problems), *contradictions(config)]:
            raise ConfigurationError("\n".join(problems))
        return config


GROUPS: Mapping[str, type[Group]] = typing.get_type_hints(ServerConfig)
OPTIONS: tuple[Option, ...] = tuple(o for group in GROUPS.values() for o in group.options)


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """Hold a configuration, the origin of each value by field name, and warnings."""

    config: ServerConfig
    origins: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def tcp_addresses(listen: ListenConfig) -> tuple[tuple[str, int], ...]:
    """Return the TCP addresses as (host, port), hosts without brackets; may be none."""
    port = DEFAULT_PORT if listen.port is None else listen.port
    if listen.bind:
        pairs = map(parse_bind, listen.bind)
        return tuple((host, port if own is None else own) for host, own in pairs)
    elsewhere = listen.unix_socket is not None or listen.fd is not None or listen.endpoint
    return () if elsewhere and listen.port is None else ((DEFAULT_HOST, port),)


def contradictions(config: ServerConfig, origins: Mapping[str, str] | None = None) -> list[str]:
    """Return a text for each value that another one rules out, naming where it came from."""
    return [
        f"{(origins or {}).get(name, name)}: --proxy-headers has to be passed for this parameter."
        for name in ("proxy_headers_host", "proxy_headers_port")
        if getattr(config.proxy, name) is not None and not config.proxy.proxy_headers
    ]


def add_arguments(
    parser: argparse.ArgumentParser, *, core: bool, groups: Iterable[type[Group]] | None = None
) -> None:
    """Add the flags of the groups (default: all); `core` adds those that Django must not see."""
    for group in GROUPS.values() if groups is None else groups:
        options.add_group_arguments(parser, group, core=core)


def merge(layers: Sequence[Layer]) -> Resolved:
    """Return what the layers make, an earlier one winning; do not look at their problems."""
    values = {item.name: item.default for item in OPTIONS}
    origins = dict.fromkeys(values, "default")
    for layer in reversed(layers):
        values |= layer.plain()
        origins |= {name: origin for name, (_, origin) in layer.values.items()}
    warnings = tuple(str(warning) for layer in layers for warning in layer.warnings)
    return Resolved(config=ServerConfig.from_values(values), origins=origins, warnings=warnings)


def resolve(
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    settings: object,
    fallbacks: Layer | None = None,
) -> Resolved:
    """Return the configuration that the sources make: flags, environment, settings, defaults.

    `flags` maps field names to what argparse made of `add_arguments`; `settings` is the dictionary
    settings.DAPHNE; `fallbacks` stands just above the defaults. Raise one ConfigurationError with
    a line for every problem; unknown environment variables are only warnings.
    """
    layers = [
        options.read_values(OPTIONS, flags, flags=True),
        options.read_environment(OPTIONS, environ),
        options.read_settings(OPTIONS, settings),
        fallbacks or Layer(),
    ]
    resolved = merge(layers)
    problems = [str(problem) for layer in layers for problem in layer.problems]
    problems += contradictions(resolved.config, resolved.origins)
    if problems:
        raise ConfigurationError("\n".join(problems))
    return resolved


def describe(resolved: Resolved) -> str:
    """Return a table with the name, value, unit and origin of every option, a line each."""
    rows = [("option", "value", "unit", "from")]
    for item, value in zip(OPTIONS, resolved.config.values().values(), strict=True):
        shown = item.format(value) or "(empty)"
        rows.append((item.name, shown, item.unit, resolved.origins[item.name]))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
