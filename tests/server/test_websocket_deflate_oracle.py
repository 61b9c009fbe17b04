"""permessage-deflate with the `websockets` package as the client."""

from __future__ import annotations

import random
import unittest
from itertools import product
from typing import Any

from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    enable_client_permessage_deflate,
)
from websockets.frames import Frame
from websockets.headers import build_extension, parse_extension
from websockets.protocol import State
from websockets.uri import parse_uri

from django_daphne.server import WebSocketConfig
from django_daphne.server.protocols.websocket_deflate import Deflate, negotiate
from django_daphne.server.protocols.websocket_frames import encode_frame

from .test_websocket_frames import Listener

NOISE = random.Random(7692).randbytes(5000)
# Each but the first refers to the one before, as far as the window reaches.
MESSAGES = (NOISE[:600], NOISE[:600], NOISE, NOISE, b"a" * 9000, b"")


class ClientTests(unittest.TestCase):
    """Both sides keep to what they have agreed on."""

    def agree(self, factory: Any, bits: int, context: bool) -> tuple[ClientProtocol, Deflate]:
        """Return a client and the server's codec, past the handshake."""
        config = WebSocketConfig(
            websocket_compression_bits=bits, websocket_compression_context=context
        )
        offer = build_extension([(factory.name, factory.get_request_params())])
        agreed = negotiate([offer], config)
        assert agreed is not None, offer
        ((name, parameters),) = parse_extension(agreed[0])
        self.assertEqual(name, factory.name)
        client = ClientProtocol(parse_uri("ws://zebra.example/"), state=State.OPEN, max_size=None)
        client.extensions = [factory.process_response_params(parameters, [])]
        return client, agreed[1]

    def check(self, client: ClientProtocol, deflate: Deflate) -> list[int]:
        """Send messages both ways; return the sizes of the server's."""
        listener = Listener(inflater=deflate)
        sizes = []
        for data in MESSAGES:
            payload = deflate.compress(data)
            sizes.append(len(payload))
            client.receive_data(encode_frame(2, payload, is_compressed=True))
            self.assertIsNone(client.parser_exc)
            (event,) = client.events_received()
            assert isinstance(event, Frame)
            self.assertEqual(bytes(event.data), data)
            client.send_binary(data)
            client.send_binary(data[:500], fin=False)
            client.send_ping(b"")
            client.send_continuation(data[500:], fin=True)
            listener.feed(*client.data_to_send())
        expected = [event for data in MESSAGES for event in (data, ("ping", b""), data)]
        self.assertEqual((listener.events, listener.code), (expected, None))
        return sizes

    def test_all(self):
        """The client offers windows of several sizes and no contexts, to servers of every kind."""
        sizes = (None, 9, 13)
        offers = product(sizes, (True, *sizes), (False, True), (False, True))
        configurations = product(range(9, 16), (True, False))
        for (ours, theirs, lone, lonely), (bits, context) in product(offers, configurations):
            factory = ClientPerMessageDeflateFactory(
                server_max_window_bits=ours,
                client_max_window_bits=theirs,
                server_no_context_takeover=lone,
                client_no_context_takeover=lonely,
            )
            with self.subTest(ours=ours, theirs=theirs, bits=bits):
                first, second, *_ = self.check(*self.agree(factory, bits, context))
                # The second message is the first one; who keeps a window sees it there.
                keeps = context and not lone and min(bits, ours or 15) > 9
                self.assertEqual(second < first // 2, keeps)

    def test_default(self):
        """The client offers what it does unless it is told otherwise."""
        (factory,) = enable_client_permessage_deflate(None)
        self.check(*self.agree(factory, 12, True))
