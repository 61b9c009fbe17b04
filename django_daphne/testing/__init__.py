"""Helpers for tests: live servers, applications called by message, a server without sockets."""

from ..server import MemoryConnection, MemoryServer
from .channels import ChannelsLiveServerTestCase
from .communicators import ApplicationCommunicator, HttpCommunicator, WebsocketCommunicator
from .live import LiveServer, LiveServerTestCase
from .process import ProcessLiveServer, ProcessLiveServerTestCase
from .server import ThreadServer

__all__ = [
    "ApplicationCommunicator",
    "ChannelsLiveServerTestCase",
    "HttpCommunicator",
    "LiveServer",
    "LiveServerTestCase",
    "MemoryConnection",
    "MemoryServer",
    "ProcessLiveServer",
    "ProcessLiveServerTestCase",
    "ThreadServer",
    "WebsocketCommunicator",
]
