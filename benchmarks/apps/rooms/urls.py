"""No views: only WebSockets are asked for."""

from __future__ import annotations

urlpatterns: list[object] = []
