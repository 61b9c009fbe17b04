"""django-simple-history: who looks at a view leaves a note, and the history knows who it was."""

from __future__ import annotations

from typing import Any

from ..stack import Part


def see(request: Any) -> dict[str, Any]:
    """Leave a note."""
    from .notes.models import Note

    Note.objects.create(text=f"{request.user} at {request.path}")
    return {}


def recorded() -> list[Any]:
    """Return each note with the user that the history has for it."""
    from .notes.models import Note

    return list(Note.history.values_list("text", "history_user__username", "history_type"))


PART = Part(
    apps=["simple_history", f"{__package__}.notes"],
    inner=["simple_history.middleware.HistoryRequestMiddleware"],
    see=see,
    recorded=recorded,
)
