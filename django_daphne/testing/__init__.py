"""Helpers for tests: live servers, in a thread of the test process or in a process of their own."""

from .channels import ChannelsLiveServerTestCase
from .live import LiveServer, LiveServerTestCase
from .process import ProcessLiveServer, ProcessLiveServerTestCase
from .server import ThreadServer

__all__ = [
    "ChannelsLiveServerTestCase",
    "LiveServer",
    "LiveServerTestCase",
    "ProcessLiveServer",
    "ProcessLiveServerTestCase",
    "ThreadServer",
]
