"""A model of which every change is kept."""

from __future__ import annotations

from django.db import models
from simple_history.models import HistoricalRecords


class Note(models.Model):
    """A line of text."""

    text: models.Field[str, str] = models.CharField(max_length=100)
    history = HistoricalRecords()

    def __str__(self) -> str:
        return self.text
