"""What `startproject` makes, and LocaleMiddleware, with the parts of the stack among it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .stack import PARTS, collect

FOLDER = Path(__file__).resolve().parent
# "django" is a project that knows nothing of us.
HANDLER = os.environ.get("ADDONS_HANDLER", "django")

SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
LANGUAGE_CODE = "en"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    *([] if HANDLER == "django" else ["django_daphne"]),
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    *collect("apps"),
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    *collect("outer"),
    "django.middleware.security.SecurityMiddleware",
    *collect("early"),
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    *collect("inner"),
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    *collect("last"),
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [FOLDER / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

ROOT_URLCONF = f"{__package__}.urls"
STATIC_URL = "static/"
STATIC_ROOT = FOLDER / "static"


class NoMigrations(dict[str, None]):
    """Tables are made from the models as they are."""

    def __contains__(self, app: object) -> bool:
        return True

    def __getitem__(self, app: str) -> None:
        return None


MIGRATION_MODULES = NoMigrations()
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("ADDONS_DATABASE", ":memory:"),
        # Writers that meet wait for each other, and so never find that they read too early.
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
    }
}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DAPHNE: dict[str, Any] = {} if HANDLER == "django" else {"DJANGO_HANDLER": HANDLER}

for part in PARTS.values():
    globals().update(part.settings)
