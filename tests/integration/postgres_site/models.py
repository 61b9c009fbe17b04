"""What the site stores."""

from __future__ import annotations

from django.db import models


class Visit(models.Model):
    """One number of many; the table is made by the test."""

    number: models.IntegerField[int, int] = models.IntegerField()

    class Meta:
        app_label = "postgres_site"
        db_table = "visit"
