"""A site whose sync and async views use a PostgreSQL database."""

ROWS = 50
"""Rows that a stream has."""

LOCK = 1
"""The number of the lock that views wait for."""
