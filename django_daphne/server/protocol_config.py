"""The options of HTTP/2 and of WebSockets."""

from __future__ import annotations

from .options import CLOSED, Group, limit, option, timeout


class HTTP2Config(Group, title="HTTP/2"):
    """Say whether HTTP/2 is spoken, and how much one connection of it may hold."""

    http2: bool = option(
        True, help="Speak HTTP/2 with clients that want it: by ALPN over TLS, or as below."
    )
    http2_prior_knowledge: bool = option(
        True, help="Speak HTTP/2 with clients that begin with it on a connection without TLS."
    )
    http2_max_concurrent_streams: int = option(
        128, help="Requests of one connection at the same time.", unit="streams", minimum=1
    )
    http2_stream_window: int = option(
        1048576,
        help="What is held of one request body that the application does not take.",
        unit="bytes",
        minimum=65535,
        maximum=2**31 - 1,
    )
    http2_connection_window: int = option(
        8388608,
        help="What is held of all request bodies of a connection together.",
        unit="bytes",
        minimum=65535,
        maximum=2**31 - 1,
    )
    http2_max_frame_size: int = option(
        16384,
        help="The largest frame that clients may send.",
        unit="bytes",
        minimum=16384,
        maximum=2**24 - 1,
    )
    http2_max_requests: int | None = limit(
        None,
        "Requests of one connection, one after the other.",
        "the connection ends behind them",
        unit="requests",
    )
    http2_ping_interval: float | None = timeout(
        30, "The silence of a client that is being served.", "a PING"
    )
    http2_ping_timeout: float | None = timeout(
        30, "The wait for the answer to a PING.", "the connection is reset"
    )


class WebSocketConfig(Group, title="WebSocket"):
    """Bound the life and the messages of a WebSocket, and say how it is compressed."""

    websocket_timeout: float | None = timeout(
        86400, "The life of a WebSocket.", "close code 1000", aliases=("--websocket_timeout",)
    )
    websocket_connect_timeout: float | None = timeout(
        5,
        "The wait for the application to accept or deny a WebSocket.",
        "status 403",
        aliases=(
            "--websocket_connect_timeout",
            "--websocket-handshake-timeout",
            "--websocket_handshake_timeout",
        ),
    )
    ping_interval: float | None = timeout(20, "The silence of a client.", "a ping")
    ping_timeout: float | None = timeout(30, "The wait for the answer to a ping.", CLOSED)
    websocket_max_message_size: int | None = limit(
        1048576, "The largest message, inflated.", "close code 1009", none_values=(0, -1)
    )
    websocket_max_frame_size: int | None = limit(
        1048576, "The largest frame.", "close code 1009", none_values=(0, -1)
    )
    websocket_max_fragments: int | None = limit(
        1024, "Frames of a message.", "close code 1009", none_values=(-1,), unit="frames"
    )
    websocket_max_queue: int | None = limit(
        32,
        "Messages that wait for the application; body_buffer_size bounds their bytes.",
        "reading pauses",
        none_values=(-1,),
        unit="messages",
    )
    websocket_compression: bool = option(
        True, help="Compress messages for clients that offer it (permessage-deflate)."
    )
    websocket_compression_bits: int = option(
        12, help="The largest window, as a power of two bytes.", unit="bits", minimum=9, maximum=15
    )
    websocket_compression_context: bool = option(
        True, help="Keep the window from message to message; off is slower and saves memory."
    )
