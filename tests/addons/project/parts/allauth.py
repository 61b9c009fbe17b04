"""django-allauth's accounts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.urls import include, path

from ..stack import Part


def urls() -> Sequence[Any]:
    """Return allauth's own, and a view that ends a request by an exception of its."""
    return [path("accounts/", include("allauth.urls")), path("aside", aside)]


def aside(request: Any) -> Any:
    """Leave the view with a response."""
    from allauth.core.exceptions import ImmediateHttpResponse
    from django.http import HttpResponse

    raise ImmediateHttpResponse(HttpResponse("aside"))


def see(request: Any) -> dict[str, Any]:
    """Return what the context of allauth holds: this request."""
    from allauth.core import context

    return {"is_in_context": context.request is request}


PART = Part(
    apps=["allauth", "allauth.account"],
    inner=["allauth.account.middleware.AccountMiddleware"],
    settings={
        "AUTHENTICATION_BACKENDS": [
            "django.contrib.auth.backends.ModelBackend",
            "allauth.account.auth_backends.AuthenticationBackend",
        ],
        "ACCOUNT_RATE_LIMITS": False,
        "ACCOUNT_EMAIL_VERIFICATION": "none",
        "EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend",
        "LOGIN_REDIRECT_URL": "/sync/redirected",
    },
    urls=urls,
    see=see,
)
