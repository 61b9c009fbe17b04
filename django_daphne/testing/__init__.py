"""Helpers for tests: applications called without a server, and a server without sockets."""

from ..server import MemoryConnection, MemoryServer
from .communicators import ApplicationCommunicator, HttpCommunicator, WebsocketCommunicator

__all__ = [
    "ApplicationCommunicator",
    "HttpCommunicator",
    "MemoryConnection",
    "MemoryServer",
    "WebsocketCommunicator",
]
