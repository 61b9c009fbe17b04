"""One table."""

from __future__ import annotations

from django.db import models


class Book(models.Model):
    """A row of the page."""

    title = models.CharField(max_length=100)
    author = models.CharField(max_length=100)
    year = models.PositiveSmallIntegerField()

    def __str__(self) -> str:
        return self.title
