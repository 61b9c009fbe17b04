"""Noticing that somebody has replaced a method, or its code."""

from __future__ import annotations

import functools
from typing import Any

from django.test import SimpleTestCase

from django_daphne.handlers.originals import Methods


def make_class() -> Any:
    """Return a class with methods."""

    class Handler:
        def find(self) -> list[str]:
            return sorted([str(self)])

        def leave(self) -> None:
            pass

    return Handler


NAMES = {"find": ("sorted",), "leave": ()}


class MethodsTests(SimpleTestCase):
    """What somebody does to a class, before it is looked at and after."""

    def assert_found(self, methods: Methods, *, own: bool, unchanged: bool) -> None:
        """Assert what methods say of themselves."""
        self.assertEqual((methods.are_own(), methods.are_unchanged()), (own, unchanged))

    def test_nothing(self):
        """Nobody does anything: they are what they were, and the class's own."""
        handler = make_class()
        methods = Methods(handler, NAMES)
        self.assert_found(methods, own=True, unchanged=True)
        self.assertEqual(list(methods), [handler.find, handler.leave])

    def test_replaced(self):
        """A tool replaces a method, and takes its own away again."""
        handler = make_class()
        methods, original = Methods(handler, NAMES), handler.leave
        handler.leave = lambda self: None
        self.assert_found(methods, own=False, unchanged=False)
        handler.leave = original
        self.assert_found(methods, own=True, unchanged=True)

    def test_other_code(self):
        """A tool exchanges the code of a method, which is the same object as before."""
        handler = make_class()
        methods = Methods(handler, NAMES)
        handler.find.__code__ = handler.leave.__code__
        self.assert_found(methods, own=False, unchanged=False)
        self.assert_found(Methods(handler, NAMES), own=False, unchanged=True)

    def test_came_late(self):
        """A tool has been there before: what is found is not the class's own, and stays so."""

        class Proxy:
            def __init__(self, function: object) -> None:
                self.function = function

        def closed_over(function: Any) -> Any:
            return lambda self: str(function(self))

        def wrapped(function: Any) -> Any:
            return functools.wraps(function)(lambda self: None)

        for wrap in (Proxy, closed_over, wrapped):
            with self.subTest(wrap):
                handler = make_class()
                handler.leave = wrap(handler.leave)
                methods = Methods(handler, NAMES)
                self.assert_found(methods, own=False, unchanged=True)
                del handler.leave
                handler.leave = make_class().leave
                self.assert_found(methods, own=False, unchanged=False)
