"""What startproject of Django 6.1 writes, for production, with a stack of middleware on top.

The environment says which:

* ``BENCHMARK_STACK``: a name in ``STACKS``, each of which holds what stands before it;
* ``BENCHMARK_HANDLER``: the value of ``DJANGO_HANDLER``. Without one the project does not know
  ``django_daphne``, as under any other server;
* ``BENCHMARK_STATIC``: who answers for static files: "whitenoise" is its middleware, "server" is
  this server where there is a handler, and WhiteNoise's middleware elsewhere; empty is nobody;
* ``BENCHMARK_PERSISTENT``: for how many seconds a database connection may be used;
* ``BENCHMARK_DATA``: the folder of the database and of the collected static files.
"""

from __future__ import annotations

import os
from pathlib import Path

STACKS = ("startproject", "production", "whitenoise", "sentry", "untraced")
_stack = STACKS.index(os.environ["BENCHMARK_STACK"])
_data = Path(os.environ["BENCHMARK_DATA"])
_handler = os.environ.get("BENCHMARK_HANDLER", "")

SECRET_KEY = "known to everybody, for there is nothing to keep"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "library",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "library.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": _data / "db.sqlite3",
        "CONN_MAX_AGE": int(os.environ.get("BENCHMARK_PERSISTENT", "0")),
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = _data / "static"

if _handler:
    INSTALLED_APPS.insert(0, "django_daphne")
    DAPHNE: dict[str, object] = {"DJANGO_HANDLER": _handler}


def _after(name: str, *added: str) -> None:
    """Put middleware directly behind that of this name, as their documentation asks."""
    place = next(i for i, path in enumerate(MIDDLEWARE) if path.endswith(f".{name}")) + 1
    MIDDLEWARE[place:place] = added


if _stack >= STACKS.index("production"):
    INSTALLED_APPS += [
        "corsheaders",
        "allauth",
        "allauth.account",
        "django_htmx",
        "django_otp",
        "django_otp.plugins.otp_totp",
    ]
    AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.ModelBackend",
        "allauth.account.auth_backends.AuthenticationBackend",
    ]
    CORS_ALLOWED_ORIGINS = ["https://example.com"]
    _after("SessionMiddleware", "corsheaders.middleware.CorsMiddleware")
    _after("AuthenticationMiddleware", "django_otp.middleware.OTPMiddleware")
    MIDDLEWARE += [
        "allauth.account.middleware.AccountMiddleware",
        "django_htmx.middleware.HtmxMiddleware",
    ]

_static = os.environ.get("BENCHMARK_STATIC", "")
if _static == "server" and _handler:
    DAPHNE["SERVE_STATIC"] = True
    _static = ""

if _static or _stack >= STACKS.index("whitenoise"):
    _after("SecurityMiddleware", "whitenoise.middleware.WhiteNoiseMiddleware")

if _stack >= STACKS.index("sentry"):
    import sentry_sdk

    from .transport import Drop

    sentry_sdk.init(
        dsn="http://key@127.0.0.1/1",
        transport=Drop,
        traces_sample_rate=None if _stack == STACKS.index("untraced") else 1.0,
    )
