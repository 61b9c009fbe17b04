"""django-waffle, with a flag that a client can try and one for a user."""

from __future__ import annotations

from typing import Any

from ..stack import Part


def fill() -> None:
    """Make the flags."""
    from django.contrib.auth.models import User
    from waffle.models import Flag

    Flag.objects.create(name="tried", testing=True)
    Flag.objects.create(name="anns").users.add(User.objects.get(username="ann"))


def see(request: Any) -> dict[str, Any]:
    """Return which flags wave."""
    import waffle

    return {name: waffle.flag_is_active(request, name) for name in ("tried", "anns")}


PART = Part(apps=["waffle"], inner=["waffle.middleware.WaffleMiddleware"], fill=fill, see=see)
