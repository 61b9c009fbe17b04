"""Tests of the handlers that run Django's requests."""
