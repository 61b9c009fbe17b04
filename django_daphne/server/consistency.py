"""Values of options that rule each other out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config import ListenConfig, ProxyConfig, ServerConfig
    from .tls_config import TLSConfig


def contradictions(config: ServerConfig, origins: Mapping[str, str] | None = None) -> list[str]:
    """Return a text for each value that another one rules out, naming where it came from."""
    found = (
        _of_proxies(config.proxy)
        | _of_listening(config.listen, config.tls)
        | _of_certificates(config.tls)
        | _of_workers(config)
    )
    return [f"{(origins or {}).get(name, name)}: {text}" for name, text in found.items()]


def _of_proxies(proxy: ProxyConfig) -> dict[str, str]:
    found: dict[str, str] = {}
    if not proxy.proxy_headers:
        for name in ("proxy_headers_format", "proxy_headers_host", "proxy_headers_port"):
            if getattr(proxy, name) not in (None, "auto"):
                found[name] = "--proxy-headers has to be passed for this parameter."
    elif proxy.proxy_headers_format == "forwarded":
        for name in ("proxy_headers_host", "proxy_headers_port"):
            if getattr(proxy, name) is not None:
                found[name] = "it means nothing with --proxy-headers-format forwarded."
    return found


def _of_listening(listen: ListenConfig, tls: TLSConfig) -> dict[str, str]:
    found: dict[str, str] = {}
    if listen.proxy_protocol != "off" and listen.endpoint:
        found["proxy_protocol"] = (
            'it does not reach the endpoints of --endpoint: begin those with "haproxy:" and say'
            ' "proxy_protocol=MODE" behind an address of --bind.'
        )
    if listen.insecure_bind and not tls.certfile:
        found["insecure_bind"] = "without --certfile every address is plain: use --bind."
    if tls.redirect_to_https and not listen.insecure_bind:
        found["redirect_to_https"] = "--insecure-bind has to name what is redirected."
    return found


def _of_certificates(tls: TLSConfig) -> dict[str, str]:
    found: dict[str, str] = {}
    if not tls.certfile:
        for item in tls.options:
            # The interval and a redirection say nothing about how safe a connection is.
            if item.name in ("certificate_check_interval", "redirect_to_https"):
                continue
            if getattr(tls, item.name) != item.default:
                found[item.name] = "--certfile has to be passed for this parameter."
        return found
    if tls.keyfile and len(tls.keyfile) != len(tls.certfile):
        found["keyfile"] = (
            f"there are {len(tls.keyfile)} for {len(tls.certfile)} of --certfile; expected as many,"
            " or none where the keys are beside the certificates."
        )
    if tls.client_certificates != "off" and tls.ca_certs is None:
        found["client_certificates"] = "--ca-certs has to say whose certificates are accepted."
    if tls.ca_certs is not None and tls.client_certificates == "off":
        found["ca_certs"] = "it means nothing without --client-certificates optional or required."
    if tls.ciphers is not None and tls.tls_min_version == "1.3":
        found["ciphers"] = "they are those of TLS 1.2, which --tls-min-version 1.3 rules out."
    return found


def _of_workers(config: ServerConfig) -> dict[str, str]:
    found: dict[str, str] = {}
    workers = config.workers
    if workers.is_supervised and config.listen.endpoint:
        found["endpoint"] = (
            "workers cannot share it: use --bind, --unix-socket or --fd, or leave out --workers,"
            " --max-requests, --max-rss and --max-lifetime."
        )
    if workers.is_supervised and sys.platform == "win32":
        found["workers"] = "there are no workers on Windows: leave out --workers and their limits."
    if workers.max_requests_jitter and workers.max_requests is None:
        found["max_requests_jitter"] = "--max-requests has to be passed for this parameter."
    return found
