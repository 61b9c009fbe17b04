"""django-cors-headers, with one origin that may ask."""

from __future__ import annotations

from ..stack import Part

PART = Part(
    apps=["corsheaders"],
    early=["corsheaders.middleware.CorsMiddleware"],
    settings={
        "CORS_ALLOWED_ORIGINS": ["https://friend.example"],
        "CORS_ALLOW_CREDENTIALS": True,
    },
)
