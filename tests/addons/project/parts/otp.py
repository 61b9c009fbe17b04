"""django-otp, with a token that stays the same for each user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from ..stack import Part


def fill() -> None:
    """Give every user a device with ten times the same token."""
    from django.contrib.auth.models import User
    from django_otp.plugins.otp_static.models import StaticDevice

    for user in User.objects.all():
        device = StaticDevice.objects.create(user=user, name="list")
        for _ in range(10):
            device.token_set.create(token=f"token of {user.username}")


@csrf_exempt
def verify(request: HttpRequest) -> HttpResponse:
    """Take a token of the user."""
    import django_otp

    device = django_otp.match_token(request.user, request.POST["token"])
    if device is None:
        return HttpResponse("That is not yours.", status=403)
    django_otp.login(request, device)
    return HttpResponse("It is you.")


def see(request: Any) -> dict[str, Any]:
    """Tell whether the user has shown a token."""
    return {"is_verified": request.user.is_verified()}


def urls() -> Sequence[Any]:
    """Return the view that takes a token."""
    return [path("verify", verify)]


PART = Part(
    apps=["django_otp", "django_otp.plugins.otp_static"],
    inner=["django_otp.middleware.OTPMiddleware"],
    fill=fill,
    see=see,
    urls=urls,
)
