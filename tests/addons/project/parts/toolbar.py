"""django-debug-toolbar, for every client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..stack import Part


def show(request: Any) -> bool:
    """Show the toolbar to everybody."""
    return True


def urls() -> Sequence[Any]:
    """Return the toolbar's own."""
    from debug_toolbar.toolbar import debug_toolbar_urls

    return [*debug_toolbar_urls()]


PART = Part(
    apps=["debug_toolbar"],
    early=["debug_toolbar.middleware.DebugToolbarMiddleware"],
    urls=urls,
    settings={
        "DEBUG": True,
        "DEBUG_TOOLBAR_CONFIG": {
            "SHOW_TOOLBAR_CALLBACK": f"{__name__}.show",
            "RENDER_PANELS": False,
        },
        "DEBUG_TOOLBAR_PANELS": [
            "debug_toolbar.panels.history.HistoryPanel",
            "debug_toolbar.panels.request.RequestPanel",
            "debug_toolbar.panels.sql.SQLPanel",
            "debug_toolbar.panels.templates.TemplatesPanel",
        ],
    },
)
