"""django-axes, which locks a user out after two failures."""

from __future__ import annotations

from typing import Any

from ..stack import Part


def recorded() -> list[Any]:
    """Return the attempts that are in the database."""
    from axes.models import AccessAttempt, AccessLog

    return [
        sorted(AccessAttempt.objects.values_list("username", "path_info", "failures_since_start")),
        sorted(AccessLog.objects.values_list("username", "path_info")),
    ]


PART = Part(
    apps=["axes"],
    last=["axes.middleware.AxesMiddleware"],
    settings={
        "AUTHENTICATION_BACKENDS": [
            "axes.backends.AxesStandaloneBackend",
            "django.contrib.auth.backends.ModelBackend",
        ],
        "AXES_FAILURE_LIMIT": 2,
        "AXES_LOCKOUT_PARAMETERS": ["username"],
        "AXES_VERBOSE": False,
    },
    recorded=recorded,
)
