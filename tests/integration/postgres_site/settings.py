"""The settings of the site. SITE is what a test has to say, as JSON.

There is one database under two names: "default" is what sync views use, "aside" is for async views,
so that the connections of both can be told apart. Each bears its own name at the database.
"""

import json
import os
from typing import Any

SITE: dict[str, Any] = json.loads(os.environ["SITE"])

SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
INSTALLED_APPS = ["django_daphne", "tests.integration.postgres_site"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware", *SITE.get("middleware", ())]
ROOT_URLCONF = "tests.integration.postgres_site.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DAPHNE = SITE["daphne"]


def _database(name: str) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "postgres",
        "USER": "postgres",
        "HOST": SITE["host"],
        "OPTIONS": {"application_name": name, **SITE.get("options", {})},
        **SITE.get("database", {}),
    }


DATABASES = {name: _database(name) for name in ("default", "aside")}
