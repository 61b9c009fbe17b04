"""The guest book's table."""

from django.db import models


class Entry(models.Model):
    """Hold what one visitor wrote in the guest book."""

    name = models.CharField(max_length=80)
    text = models.TextField(max_length=500)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-created", "-pk")
        verbose_name_plural = "entries"

    def __str__(self) -> str:
        return f"{self.name}: {self.text:.40}"
